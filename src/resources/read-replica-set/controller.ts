import { readReplicaSetSpec } from '../../api/v1alpha1/read-replica-set.ts';
import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { Connections } from '../../postgres/connections.ts';
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
import { keyOf, keyString, type ObjectKey } from '../../runtime/kubernetes-object.ts';
import { createMemories } from '../../runtime/memories.ts';
import { writeStatus } from '../../runtime/status-writer.ts';
import { changed, labelled, mapped } from '../../runtime/watches.ts';
import type { PoolerSources } from '../pooler-config/sources.ts';
import { readReplicaSetType } from '../sharded-cluster/kinds.ts';
import type { Settings, ShardedCluster } from '../sharded-cluster/model.ts';
import { fieldManager, replicaSetLabel } from '../sharded-cluster/names.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { tellSuspended } from '../suspension.ts';
import { createAutoscaler, wantedReplicas } from './autoscaler.ts';
import { executeSet, ownerOf, type SetExecution, type SetFailure } from './execute.ts';
import { withFailedActions } from './failed-actions.ts';
import { createModelPasses } from './logical/pass.ts';
import { emptyMemory, type SetMemory } from './memory.ts';
import type { ObservedSet, ReadReplicaSet, SetInput } from './model.ts';
import { busyMs, nextLookMs, pollMs } from './next-look.ts';
import { createSetObserver, setsOf } from './observe.ts';
import { plan } from './plan.ts';
import { effectiveSettings } from './settings.ts';
import type { ReplicaSources } from './sources.ts';
import { statusOf, withDecision } from './status.ts';

/** What the controller works with. */
export interface ReadReplicaSetDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly replicas: ReplicaSources;
  readonly poolerSources: Pick<PoolerSources, 'poolers'>;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly settings: Settings;
}

/** A set without members, or without a cluster, needs no such hurry. */
const idleMs = 10_000;
/** A pass comes back after so long while caches have not seen its writes. */
const soonMs = 50;
/** What servers were asked for beside the passes, and members wait for. */
const answered: ReadonlySet<string> = new Set(['CountingData', 'CheckingParameters']);

/** The ReadReplicaSet controller. */
export function readReplicaSetController(dependencies: ReadReplicaSetDependencies): Controller {
  const { client, sources, replicas, poolerSources, connections, events, clock, settings } = dependencies;
  const expectations = createExpectations({ clock });
  const telling = { client, clock, expectations };
  const observer = createSetObserver({
    client,
    sources,
    replicas,
    poolerSources,
    connections,
    monotonicMs: clock.monotonicMs,
  });
  const execution: SetExecution = {
    client,
    replicas,
    connections,
    expectations,
    events,
    monotonicMs: clock.monotonicMs,
  };
  const autoscaler = createAutoscaler({ client, events, clock });
  const memories = createMemories<SetMemory>();
  const models = createModelPasses({ ...dependencies, execution });

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const owner = keyString(key);
    const found = sources.replicaSets.cache.get(key);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) {
      memories.forget(key);
      models.forget(key);
      expectations.forget(owner);
      return undefined;
    }
    if (expectations.pending(owner).length > 0) return { requeueAfterMs: soonMs };
    const set: ReadReplicaSet = { ...found, spec: readReplicaSetSpec.parse(found.spec) };
    if (set.spec.suspend) return tellSuspended(telling, sources.replicaSets, set, context.signal);
    const memory = memories.of(set.metadata, () => emptyMemory(clock.monotonicMs()));
    const cluster = clusterOf(set);
    if (set.spec.mode === 'logical' && cluster !== undefined) return passModel(set, cluster, memory, context);
    return pass(set, memory, context);
  }

  async function passModel(
    set: ReadReplicaSet,
    cluster: ShardedCluster,
    memory: SetMemory,
    context: ReconcileContext,
  ): Promise<ReconcileResult> {
    const { status, failures, nextMs } = await models.pass(set, cluster, memory, context);
    logFailures(set, failures, context);
    await write(set, status, context);
    return { requeueAfterMs: nextMs };
  }

  function logFailures(
    set: ReadReplicaSet,
    failures: readonly SetFailure[],
    { log }: ReconcileContext,
  ): void {
    for (const { action, error } of failures)
      log.warn({ key: keyString(set.metadata), action: action.kind, error: error.message }, 'action failed');
  }

  async function write(
    set: ReadReplicaSet,
    status: NonNullable<ReadReplicaSet['status']>,
    { signal }: ReconcileContext,
  ): Promise<void> {
    const written = await writeStatus(client, readReplicaSetType, set, status, { signal, fieldManager });
    if (!written.changed) return;
    expectations.expectWritten(ownerOf({ set }), sources.replicaSets.cache, written.object);
    tellTransitions(set, status);
  }

  async function pass(
    set: ReadReplicaSet,
    memory: SetMemory,
    context: ReconcileContext,
  ): Promise<ReconcileResult> {
    const { signal } = context;
    const cluster = clusterOf(set);
    const { observed: seen, access } = await observer.observe(set, cluster, memory, signal);
    const seenMs = clock.monotonicMs();
    const autoscaling = autoscaler.decide(set, seen, memory, signal);
    const first = withDecision(set, autoscaling);
    if (first !== undefined) await write(set, first, context);
    const observed: ObservedSet = { ...seen, replicas: wantedReplicas(set, seen.shards, autoscaling) };
    const input: SetInput = { set, observed, settings, now: clock.now() };
    const decided = plan(input);
    const failures = await executeSet(execution, { set, observed, access, memory, signal }, decided.actions);
    logFailures(set, failures, context);
    const status = statusOf(input, withFailedActions(decided, failures), autoscaling);
    await write(set, status, context);
    const members = observed.shards.flatMap((shard) => shard.members);
    const canAnswer = observed.shards.some(({ primary }) => primary.state === 'present');
    if (canAnswer && decided.progress.some(({ reason }) => answered.has(reason)))
      return { requeueAfterMs: busyMs };
    if (members.length === 0 || cluster === undefined)
      return { requeueAfterMs: decided.progress.length > 0 ? pollMs : idleMs };
    const { limits } = effectiveSettings(set.spec, cluster);
    return { requeueAfterMs: nextLookMs(members, limits, clock.monotonicMs() - seenMs) };
  }

  function clusterOf(set: ReadReplicaSet): ShardedCluster | undefined {
    const key = { namespace: set.metadata.namespace, name: set.spec.cluster };
    const found = sources.clusters.cache.get(key);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) return undefined;
    return { ...found, spec: shardedClusterSpec.parse(found.spec) };
  }

  /** An event for each condition that changed, so that `kubectl describe` tells the story. */
  function tellTransitions(set: ReadReplicaSet, status: NonNullable<ReadReplicaSet['status']>): void {
    for (const condition of status.conditions ?? []) {
      const before = set.status?.conditions?.find((other) => other.type === condition.type);
      if (['Progressing', 'Copying'].includes(condition.type) || condition.status === before?.status)
        continue;
      const isBad = (condition.type === 'Degraded') === (condition.status === 'True');
      if (before === undefined && (isBad || condition.type !== 'Ready') && condition.type !== 'Degraded')
        continue;
      if (before === undefined && !isBad) continue;
      events.record(set, {
        type: isBad ? 'Warning' : 'Normal',
        reason: condition.reason,
        action: 'Reconcile',
        note: `${condition.type} is ${condition.status}: ${condition.message}`,
      });
    }
  }

  return defineController<ReadReplicaSet>({
    name: 'readreplicaset',
    source: sources.replicaSets,
    concurrency: 16,
    watches: [
      labelled(
        replicas.statefulSets,
        replicaSetLabel,
        changed('generation', 'deletion', 'annotations', 'status'),
      ),
      labelled(replicas.pods, replicaSetLabel, changed('labels', 'deletion', 'spec', 'status')),
      labelled(replicas.claims, replicaSetLabel, changed('deletion', 'spec', 'status')),
      ...replicas.plain.map((informer) =>
        labelled(informer, replicaSetLabel, changed('deletion', 'annotations')),
      ),
      mapped(
        sources.clusters,
        ({ metadata }) =>
          sources.replicaSets.cache
            .byIndex(byCluster, clusterIndexValue(metadata.namespace, metadata.name))
            .map(keyOf),
        changed('generation', 'deletion', 'status'),
      ),
      mapped(
        poolerSources.poolers,
        (pooler) => setsOf(pooler).map((name) => ({ namespace: pooler.metadata.namespace ?? '', name })),
        changed('generation', 'deletion'),
      ),
    ],
    reconcile,
  });
}
