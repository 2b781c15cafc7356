import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { Connections } from '../../postgres/connections.ts';
import { ApiError, isConflict } from '../../runtime/api-error.ts';
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
import { delayed, labelled, mapped } from '../../runtime/watches.ts';
import { readRates } from '../../sharding/rebalance/load-text.ts';
import { bucketText } from '../../sharding/rebalance/model.ts';
import type { ShardMove } from '../shard-move/model.ts';
import { closedWindow } from '../shard-move/window.ts';
import { shardedClusterType, shardMoveType } from '../sharded-cluster/kinds.ts';
import { isMapChanged, mapDelayMs } from '../sharded-cluster/map-watch.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { clusterLabel, shardMapName } from '../sharded-cluster/names.ts';
import type { FindPrimaries } from '../sharded-cluster/primaries.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { rebalanceManager, rebalancePart } from '../sharded-cluster/status-parts.ts';
import { addMeasures, isBusy, startMeasurements } from './measure.ts';
import type { Measurements, MoveFacts, RebalanceView } from './model.ts';
import { moveFacts, shardMoveFor } from './moves.ts';
import { createLoadObserver } from './observe.ts';
import { decideRebalance, type NewMove, type RebalanceDecision } from './plan.ts';
import { hotText, type OwnStatus, statusOf, unmeasuredStatus } from './status.ts';
import { withdrawalOf } from './withdraw.ts';
import { coresOf, intervalOf, isSettling, restingShards, runningMoves, shardsOf } from './world.ts';

/** What the controller works with. */
export interface RebalanceDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly findPrimaries: FindPrimaries;
}

interface Memory {
  measurements: Measurements;
  /** When the shards were asked last, on the monotonic clock. */
  askedAtMs: number;
}

/** Rates follow a change by half within so many intervals. */
const halfLifeIntervals = 4;
/** How soon a cluster without a map or a status is looked at again. */
const startingMs = 5_000;
const soonMs = 100;

/** Measures the load of buckets, plans where they shall be, and decides how many shards there shall be. */
export function rebalanceController(dependencies: RebalanceDependencies): Controller {
  const { client, sources, connections, events, clock, findPrimaries } = dependencies;
  const { monotonicMs } = clock;
  const expectations = createExpectations({ clock });
  const observer = createLoadObserver({ client, sources, connections, monotonicMs, findPrimaries });
  const memories = createMemories<Memory>();

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
    if (spec.suspend) return undefined;
    const cluster: ShardedCluster = { ...found, spec };
    const ofCluster = clusterIndexValue(key.namespace, key.name);
    const shardMoves = sources.moves.cache.byIndex(byCluster, ofCluster);
    if (spec.tables.length === 0 || spec.rebalance.mode === 'off') {
      memories.forget(key);
      await write(found, unmeasuredStatus(cluster), context.signal);
      const isDone = await withdraw(cluster, shardMoves, context.signal);
      return isDone ? undefined : { requeueAfterMs: soonMs };
    }
    const map = sources.maps.cache.get({ ...key, name: shardMapName(key.name) })?.spec;
    if (map === undefined || cluster.status?.shards === undefined) return { requeueAfterMs: startingMs };
    const { load } = cluster.status;
    const memory = memories.of(cluster.metadata, () => ({
      measurements: startMeasurements(readRates(load?.groups ?? [])),
      askedAtMs: Number.NEGATIVE_INFINITY,
    }));
    const intervalMs = intervalOf(cluster);
    const moves = shardMoves.map((move) => moveFacts(move, closedWindow(move, cluster, clock.now())));
    if (monotonicMs() - memory.askedAtMs >= intervalMs) await measure(cluster, memory, map, moves, context);
    const { measurements } = memory;
    const view: RebalanceView = {
      cluster,
      map,
      measurements,
      moves,
      claims: sources.claims.cache.byIndex(byCluster, ofCluster),
      now: clock.now(),
    };
    const decision = decideRebalance(view, cluster.status.autoscaling);
    memory.measurements = {
      ...measurements,
      hotKeys: await observer.findKeys(cluster, decision.hot, context.signal),
    };
    tell(cluster, decision);
    // The plan is to be read before anything moves.
    await write(found, statusOf(view, decision), context.signal);
    await create(cluster, decision.create, context.signal);
    for (const name of decision.release) {
      const patch = { spec: { retention: '0s' } };
      await client.patch(shardMoveType, { ...key, name }, patch, { type: 'merge', signal: context.signal });
    }
    if (!(await withdraw(cluster, shardMoves, context.signal))) return { requeueAfterMs: soonMs };
    const rests = restingShards(moves, clock.now()).values();
    const nextMs = Math.min(memory.askedAtMs + intervalMs - monotonicMs(), ...rests);
    return { requeueAfterMs: Math.max(soonMs, nextMs) };
  }

  async function measure(
    cluster: ShardedCluster,
    memory: Memory,
    map: RebalanceView['map'],
    moves: readonly MoveFacts[],
    { signal, log }: ReconcileContext,
  ): Promise<void> {
    memory.askedAtMs = monotonicMs();
    const measures = await observer.measure(cluster, map, isBusy(memory.measurements), signal, log);
    memory.measurements = addMeasures(memory.measurements, map, measures, shardsOf(cluster, map), {
      cores: coresOf(cluster),
      halfLifeMs: halfLifeIntervals * intervalOf(cluster),
      moving: runningMoves({ moves, map }),
      isSettling: isSettling(moves, clock.now()),
    });
  }

  async function write(found: ShardedCluster, status: OwnStatus, signal: AbortSignal): Promise<void> {
    const own = { ...found, status: rebalancePart(found.status) };
    const options = { signal, fieldManager: rebalanceManager };
    const written = await writeStatus(client, shardedClusterType, own, status, options);
    if (written.changed)
      expectations.expectWritten(keyString(keyOf(found)), sources.clusters.cache, written.object);
  }

  async function create(
    cluster: ShardedCluster,
    moves: readonly NewMove[],
    signal: AbortSignal,
  ): Promise<void> {
    for (const move of moves) {
      const made = await client
        .create(shardMoveType, shardMoveFor(cluster, move), { signal })
        .catch((error: unknown) => {
          // An earlier pass made it from the same map: the cache will show it.
          if (error instanceof ApiError && error.status === 409) return undefined;
          throw error;
        });
      if (made === undefined) continue;
      expectations.expectWritten(keyString(keyOf(cluster)), sources.moves.cache, made);
      const what =
        move.operation === undefined
          ? `bucket ${bucketText(move)} goes`
          : move.operation === 'split'
            ? `bucket ${bucketText(move)} is split on its way`
            : `tenant "${move.tenant}" is isolated from bucket ${bucketText(move)} on its way`;
      const note = `${what} from ${move.from} to ${move.to} (${move.reason}): ShardMove ${move.name}`;
      events.record(cluster, { type: 'Normal', reason: 'Rebalancing', action: 'Move', note });
    }
  }

  /** Takes back what has not begun and shall not; `false` when one has changed meanwhile, and is to be looked at again. */
  async function withdraw(
    cluster: ShardedCluster,
    shardMoves: readonly ShardMove[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const { moves = [], why } = withdrawalOf(cluster, shardMoves) ?? {};
    let isDone = true;
    for (const { metadata } of moves) {
      const { name, uid, resourceVersion } = metadata;
      try {
        // Whoever begins it meanwhile changes it.
        await client.delete(shardMoveType, keyOf({ metadata }), { uid, resourceVersion, signal });
      } catch (error) {
        if (!isConflict(error)) throw error;
        isDone = false;
        continue;
      }
      const note = `ShardMove ${name}, which had not begun, was taken back: ${why}`;
      events.record(cluster, { type: 'Normal', reason: 'MoveWithdrawn', action: 'Rebalance', note });
    }
    return isDone;
  }

  /** What somebody should hear of once: heat that is new, and another number of shards. */
  function tell(cluster: ShardedCluster, { hot, autoscaling }: RebalanceDecision): void {
    const before = cluster.status?.load?.hot ?? [];
    for (const note of hot.map(hotText).filter((text) => !before.includes(text))) {
      events.record(cluster, { type: 'Warning', reason: 'Hot', action: 'Measure', note });
    }
    const decided = cluster.status?.autoscaling?.desired;
    if (autoscaling === undefined || decided === undefined || autoscaling.desired === decided) return;
    const reason = autoscaling.desired > decided ? 'ScalingOut' : 'ScalingIn';
    const note = `from ${decided} to ${autoscaling.desired} shards: ${autoscaling.message}`;
    events.record(cluster, { type: 'Normal', reason, action: 'Autoscale', note });
  }

  return defineController<ShardedCluster>({
    name: 'rebalance',
    source: sources.clusters,
    watches: [
      delayed(labelled(sources.maps, clusterLabel, isMapChanged), mapDelayMs),
      mapped(
        sources.moves,
        ({ metadata, spec }) => [{ namespace: metadata.namespace, name: spec.cluster }],
        ({ old, current }) => old?.status?.phase !== current?.status?.phase,
      ),
    ],
    concurrency: 2,
    reconcile,
  });
}
