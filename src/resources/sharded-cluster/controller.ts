import { isDeepStrictEqual } from 'node:util';
import { type ShardedClusterStatus, shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { Connections } from '../../postgres/connections.ts';
import { isConflict } from '../../runtime/api-error.ts';
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
import { keyString, type ObjectKey } from '../../runtime/kubernetes-object.ts';
import { createMemories } from '../../runtime/memories.ts';
import { writeStatus } from '../../runtime/status-writer.ts';
import { changed, delayed, labelled, mapped } from '../../runtime/watches.ts';
import { tellSuspended } from '../suspension.ts';
import { type ClusterMemory, emptyMemory } from './cluster-memory.ts';
import { type ExecutionContext, execute } from './execute.ts';
import { type ActionFailure, withFailures } from './failure.ts';
import { shardedClusterType } from './kinds.ts';
import { UnderWay } from './long-work.ts';
import { isMapChanged, mapDelayMs } from './map-watch.ts';
import type { PlanInput, Settings, ShardedCluster } from './model.ts';
import { clusterLabel, fieldManager, shardMapName } from './names.ts';
import { createObserver, setUpKey } from './observe.ts';
import { hasReshaped } from './observe-moves.ts';
import { plan } from './plan.ts';
import type { Outcome } from './plan-result.ts';
import type { PoolerGate } from './pooler-gate.ts';
import { chooseShards, isRemembered, type ShardChoice, withChoice } from './shard-choice.ts';
import type { Sources } from './sources.ts';
import { statusOf } from './status.ts';
import { suspensionReason } from './status-conditions.ts';
import { clusterPart } from './status-parts.ts';
import { refusalEvent } from './status-refusal.ts';
import { decideParameters, type ParameterDecision } from './steps/parameters.ts';
import { hasParameters } from './steps/topology.ts';
import { wantedNames } from './wanted-shards.ts';

/** What the controller works with. */
export interface ShardedClusterDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly gate: PoolerGate;
  readonly clock: Clock;
  readonly settings: Settings;
}

/** How often a cluster that is well is looked at again; its own servers are asked then, not the API server. */
const quietMs = 15_000;
/** How often one that is degraded is looked at again. */
const degradedMs = 5_000;
/** A pass that leaves something to do at once comes back after so long, when the caches may have caught up. */
const soonMs = 50;

/** The ShardedCluster controller. */
export function shardedClusterController(dependencies: ShardedClusterDependencies): Controller {
  const { client, sources, connections, events, gate, clock, settings } = dependencies;
  const expectations = createExpectations({ clock });
  const telling = { client, clock, expectations };
  const observer = createObserver({ client, sources, connections, monotonicMs: clock.monotonicMs });
  const execution: ExecutionContext = {
    client,
    sources,
    connections,
    events,
    gate,
    expectations,
    secrets: observer.secrets,
    now: clock.now,
  };
  const memories = createMemories<ClusterMemory>();

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const owner = keyString(key);
    const found = sources.clusters.cache.get(key);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) {
      memories.forget(key);
      expectations.forget(owner);
      return undefined;
    }
    if (expectations.pending(owner).length > 0) return { requeueAfterMs: soonMs };
    const spec = shardedClusterSpec.parse(found.spec);
    const cluster: ShardedCluster = {
      ...found,
      spec,
      ...(found.status === undefined ? {} : { status: clusterPart(found.status) }),
    };
    if (spec.suspend) {
      const reason = suspensionReason(cluster.status);
      return tellSuspended(telling, sources.clusters, cluster, context.signal, reason);
    }
    const map = sources.maps.cache.get({ ...key, name: shardMapName(key.name) })?.spec;
    const choice = chooseShards({ spec, status: found.status, map });
    if (!isRemembered(cluster, choice) && (await remember(cluster, choice, context.signal)))
      return { requeueAfterMs: soonMs };
    const memory = memories.of(cluster.metadata, emptyMemory);
    const others = { ...found.status, obstacle: choice.obstacle };
    return pass(cluster, others, owner, memory, context);
  }

  /**
   * Writes a choice of shards down before anything is done with it, and only where nobody else has made one. Where the API server
   * refuses it, which an event tells, the work goes on with the one before.
   */
  async function remember(
    cluster: ShardedCluster,
    choice: ShardChoice,
    signal: AbortSignal,
  ): Promise<boolean> {
    const status = withChoice(cluster.status, choice);
    const options = { signal, fieldManager, ifUnchanged: true };
    try {
      const { object } = await writeStatus(client, shardedClusterType, cluster, status, options);
      expectations.expectWritten(keyString(cluster.metadata), sources.clusters.cache, object);
      if (!isRemembered({ spec: cluster.spec, status: object.status }, choice)) {
        const note = 'status.shards.names is not kept: apply the CRDs of this version of the operator';
        events.record(cluster, { type: 'Warning', reason: 'OldDefinitions', action: 'Reconcile', note });
        if (isDeepStrictEqual(choice.names, wantedNames(cluster))) return false;
        throw new Error(note);
      }
    } catch (error) {
      if (isConflict(error)) return true;
      const event = refusalEvent(error);
      if (event === undefined) throw error;
      events.record(cluster, event);
      return false;
    }
    for (const { name, why } of choice.leaving) {
      if (cluster.status?.shards?.leaving?.some((known) => known.name === name) === true) continue;
      const note = `shard ${name} is emptied and taken away: ${why}`;
      events.record(cluster, { type: 'Normal', reason: 'ShardLeaving', action: 'Scale', note });
    }
    return true;
  }

  async function pass(
    cluster: ShardedCluster,
    others: Pick<ShardedClusterStatus, 'conversions' | 'import'> & Pick<PlanInput, 'obstacle'>,
    owner: string,
    memory: ClusterMemory,
    { signal, leading, log }: ReconcileContext,
  ): Promise<ReconcileResult> {
    const { observed, access } = await observer.observe(cluster, memory, signal);
    const input: PlanInput = {
      cluster,
      observed,
      settings,
      conversions: others.conversions ?? [],
      import: others.import,
      obstacle: others.obstacle,
      now: clock.now(),
    };
    const parameters = decideParameters(
      cluster.spec.postgres.parameters,
      { lastGood: cluster.status?.lastGoodParameters, refused: cluster.status?.refusedParameters },
      observed.shards,
      (shard, candidate) => hasParameters(input, shard, candidate),
    );
    const decided = plan(input, parameters.use);
    const ends = await execute(
      execution,
      {
        cluster,
        observed,
        access,
        owner,
        signal,
        leading,
        noteSetUp: (shard) => noteSetUp(memory, input, shard),
        longWork: memory.longWork,
      },
      decided.actions,
    );
    const failures = ends.filter(({ error }) => !(error instanceof UnderWay));
    for (const { action, error } of failures)
      log.warn({ key: owner, action: action.kind, error: error.message }, 'action failed');
    const outcomes = withFailures(decided.outcomes, ends);
    const afterMs = delayOf(outcomes, failures);
    memory.isQuiet =
      decided.actions.length === 0 && outcomes.every((outcome) => outcome.result.kind === 'continue');
    const isDue = afterMs > soonMs || cluster.status === undefined || isNews(cluster, parameters);
    const isReported = !isDue || (await report(input, outcomes, parameters, signal));
    return { requeueAfterMs: isReported ? afterMs : Math.max(afterMs, degradedMs) };
  }

  /** Whether the API server has the status. The work goes on without: what is refused here may be put right by it. */
  async function report(
    input: PlanInput,
    outcomes: readonly Outcome[],
    parameters: ParameterDecision,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { cluster } = input;
    const status = statusOf(input, outcomes, parameters);
    try {
      const written = await writeStatus(client, shardedClusterType, cluster, status, {
        signal,
        fieldManager,
      });
      if (!written.changed) return true;
      expectations.expectWritten(keyString(cluster.metadata), sources.clusters.cache, written.object);
    } catch (error) {
      const event = refusalEvent(error);
      if (event === undefined) throw error;
      events.record(cluster, event);
      return false;
    }
    tellTransitions(cluster, status);
    return true;
  }

  /** An event for each condition that changed, so that `kubectl describe` tells the story. */
  function tellTransitions(cluster: ShardedCluster, status: NonNullable<ShardedCluster['status']>): void {
    for (const condition of status.conditions ?? []) {
      const before = cluster.status?.conditions?.find((other) => other.type === condition.type);
      if (condition.type === 'Progressing' || condition.status === before?.status) continue;
      // On the way to the first Ready, in a switchover, and while a migration is under way, things are as they should be.
      const isFailing = status.phase === 'Degraded';
      const isBad = (condition.type === 'Degraded') === (condition.status === 'True');
      const isPassing = condition.type === 'SchemaApplied' || (condition.type === 'Ready' && isBad);
      if (!isFailing && (isPassing || status.phase === 'Creating')) continue;
      if (before === undefined && (isBad || condition.type !== 'Ready')) continue;
      events.record(cluster, {
        type: isBad ? 'Warning' : 'Normal',
        reason: condition.reason,
        action: 'Reconcile',
        note: `${condition.type} is ${condition.status}: ${condition.message}`,
      });
    }
  }

  return defineController<ShardedCluster>({
    name: 'shardedcluster',
    source: sources.clusters,
    watches: [
      labelled(
        sources.statefulSets,
        clusterLabel,
        changed('generation', 'deletion', 'annotations', 'status'),
      ),
      labelled(sources.pods, clusterLabel, changed('labels', 'deletion', 'spec', 'status')),
      labelled(sources.claims, clusterLabel, changed('deletion', 'spec', 'status')),
      delayed(labelled(sources.maps, clusterLabel, isMapChanged), mapDelayMs),
      mapped(
        sources.moves,
        ({ metadata, spec }) => [{ namespace: metadata.namespace, name: spec.cluster }],
        hasReshaped,
      ),
      mapped(
        sources.replicaSets,
        ({ metadata, spec }) => [{ namespace: metadata.namespace, name: spec.cluster }],
        changed('generation', 'deletion'),
      ),
      ...sources.plain.map((informer) =>
        labelled(informer, clusterLabel, changed('deletion', 'annotations')),
      ),
    ],
    reconcile,
  });
}

function noteSetUp(memory: ClusterMemory, { cluster, observed }: PlanInput, shard: string): void {
  const found = observed.shards.find((candidate) => candidate.name === shard);
  if (found?.group.state !== 'present' || found.group.value.leader === undefined) return;
  const { leader, members } = found.group.value;
  memory.setUps.set(shard, setUpKey(cluster, observed.secrets, leader, members.get(leader)?.timeline));
}

/** Whether the status has to remember something of the parameters: what was refused must not be tried again meanwhile. */
function isNews({ status }: ShardedCluster, { lastGood, refused }: ParameterDecision): boolean {
  return (
    !isDeepStrictEqual(lastGood, status?.lastGoodParameters) ||
    !isDeepStrictEqual(refused, status?.refusedParameters)
  );
}

function delayOf(outcomes: readonly Outcome[], failures: readonly ActionFailure[]): number {
  const waits = outcomes.flatMap(({ result }) => (result.kind === 'wait' ? [result.afterMs] : []));
  if (failures.length > 0) return degradedMs;
  if (waits.length > 0) return Math.max(soonMs, Math.min(...waits));
  return outcomes.some(({ result }) => result.kind === 'fail') ? degradedMs : quietMs;
}
