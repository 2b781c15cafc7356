import { type PoolerConfigStatus, poolerConfigSpec } from '../../api/v1alpha1/pooler-config.ts';
import type { Clock } from '../../runtime/clock.ts';
import {
  type Controller,
  defineController,
  type ReconcileContext,
  type ReconcileResult,
} from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import { createExpectations } from '../../runtime/expectations.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import {
  type Condition,
  type KubernetesObject,
  keyOf,
  keyString,
  type ObjectKey,
} from '../../runtime/kubernetes-object.ts';
import { createMemories } from '../../runtime/memories.ts';
import { writeStatus } from '../../runtime/status-writer.ts';
import { changed, labelled, mapped } from '../../runtime/watches.ts';
import type { Settings } from '../sharded-cluster/model.ts';
import { clusterLabel, fieldManager } from '../sharded-cluster/names.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { tellSuspended } from '../suspension.ts';
import { executePooler, type PoolerExecution } from './execute.ts';
import { type GatedShards, shardKey } from './gated-shards.ts';
import { poolerConfigType } from './kinds.ts';
import { emptyMemory, type PoolerMemory } from './memory.ts';
import type { PlanInput, PoolerConfig, Result } from './model.ts';
import { poolerLabel } from './names.ts';
import type { PoolerObserver } from './observe.ts';
import { planPgpool } from './pgpool/plan.ts';
import { plan } from './plan.ts';
import { movedTargets } from './served-by-others.ts';
import { byTarget, type PoolerSources } from './sources.ts';
import { statusOf, withFailures } from './status.ts';
import { transitionsOf } from './transitions.ts';

/** What the controller works with. */
export interface PoolerConfigDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly poolerSources: PoolerSources;
  readonly observer: PoolerObserver;
  readonly gated: GatedShards;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly settings: Settings;
}

/** How often poolers that are well are looked at again. */
const quietMs = 15_000;
/** How often those are whose number follows the load: clients are waiting meanwhile. */
const scalingMs = 5_000;
/** How often those that are told to connect anew. */
const reconnectingMs = 1_000;
/** How often those that are degraded are looked at again. */
const degradedMs = 10_000;
/** A pass that leaves something to do at once comes back after so long, when the caches may have caught up. */
const soonMs = 50;

/** The PoolerConfig controller. */
export function poolerConfigController(dependencies: PoolerConfigDependencies): Controller {
  const { client, sources, poolerSources, observer, gated, events, clock, settings } = dependencies;
  const expectations = createExpectations({ clock });
  const telling = { client, clock, expectations };
  const memories = createMemories<PoolerMemory>();
  const execution: PoolerExecution = {
    client,
    sources,
    secrets: observer.secrets,
    expectations,
    clock,
    now: clock.now,
  };

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const owner = keyString(key);
    const found = poolerSources.poolers.cache.get(key);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) {
      memories.forget(key);
      expectations.forget(owner);
      return undefined;
    }
    if (expectations.pending(owner).length > 0) return { requeueAfterMs: soonMs };
    const pooler: PoolerConfig = { ...found, spec: poolerConfigSpec.parse(found.spec) };
    if (pooler.spec.suspend) return tellSuspended(telling, poolerSources.poolers, pooler, context.signal);
    return pass(pooler, owner, context);
  }

  async function pass(
    pooler: PoolerConfig,
    owner: string,
    { signal, log }: ReconcileContext,
  ): Promise<ReconcileResult> {
    const { observed, access } = await observer.observe(
      pooler,
      memories.of(pooler.metadata, emptyMemory),
      signal,
    );
    const input: PlanInput = { pooler, observed, settings, now: clock.now() };
    const decided = pooler.spec.engine === 'pgpool' ? planPgpool(input) : plan(input);
    const failures = await executePooler(
      execution,
      { pooler, observed, access, owner, signal },
      decided.actions,
    );
    for (const { action, error } of failures)
      log.warn({ key: owner, action: action.kind, error: error.message }, 'action failed');
    const afterMs = Math.min(
      delayOf(pooler, withFailures(decided.result, failures)),
      movedTargets(input).length > 0 ? reconnectingMs : quietMs,
    );
    if (afterMs > soonMs || pooler.status === undefined) {
      const status = statusOf(input, decided, failures);
      const written = await writeStatus(client, poolerConfigType, pooler, status, { signal, fieldManager });
      if (written.changed) {
        expectations.expectWritten(owner, poolerSources.poolers.cache, written.object);
        tellTransitions(pooler, status);
      }
      forgetSwitched(pooler, status);
    }
    return { requeueAfterMs: afterMs };
  }

  /** A change behind the gate counts once: when it is the new primary that stands in the status. */
  function forgetSwitched({ metadata, status: before }: PoolerConfig, status: PoolerConfigStatus): void {
    for (const [shard, primary] of Object.entries(status.primaries ?? {})) {
      if (before?.primaries?.[shard] !== primary)
        gated.switched.delete(shardKey({ namespace: metadata.namespace, pooler: metadata.name, shard }));
    }
  }

  function tellTransitions(pooler: PoolerConfig, status: NonNullable<PoolerConfig['status']>): void {
    const before = pooler.status?.conditions as readonly Condition[] | undefined;
    const after = (status.conditions ?? []) as readonly Condition[];
    for (const { condition, isBad } of transitionsOf(before, after)) {
      events.record(pooler, {
        type: isBad ? 'Warning' : 'Normal',
        reason: condition.reason,
        action: 'Reconcile',
        note: `${condition.type} is ${condition.status}: ${condition.message}`,
      });
    }
  }

  /** A cluster wakes its poolers, and a PoolerConfig those that share the servers with it. */
  function poolersOf(namespace: string, cluster: string): ObjectKey[] {
    return poolerSources.poolers.cache.byIndex(byTarget, keyString({ namespace, name: cluster })).map(keyOf);
  }

  return defineController<PoolerConfig>({
    name: 'poolerconfig',
    source: poolerSources.poolers,
    watches: [
      mapped(
        sources.clusters,
        ({ metadata }) => poolersOf(metadata.namespace, metadata.name),
        changed('generation', 'deletion', 'status'),
      ),
      mapped(
        sources.replicaSets,
        ({ metadata, spec }) => poolersOf(metadata.namespace, spec.cluster),
        changed('generation', 'deletion', 'status'),
      ),
      mapped(
        poolerSources.poolers,
        ({ metadata, spec }) => poolersOf(metadata.namespace, spec.target.cluster),
        ({ kind }) => kind !== 'updated',
      ),
      // They may have waited for the connections of one that was deleted.
      mapped(
        poolerSources.pods,
        ({ metadata }) => poolersOf(metadata.namespace ?? '', metadata.labels?.[clusterLabel] ?? ''),
        ({ kind }) => kind === 'deleted',
      ),
      labelled(poolerSources.pods, poolerLabel, changed('deletion', 'status')),
      labelled(sources.statefulSets, poolerLabel, changed('generation', 'deletion', 'annotations', 'status')),
      ...sources.plain.map((informer) =>
        labelled<KubernetesObject>(informer, poolerLabel, changed('deletion', 'annotations')),
      ),
    ],
    reconcile,
  });
}

function delayOf({ spec }: PoolerConfig, result: Result): number {
  if (result.kind === 'fail') return degradedMs;
  if (result.kind === 'wait') return Math.max(soonMs, result.afterMs);
  return spec.autoscaling === undefined ? quietMs : scalingMs;
}
