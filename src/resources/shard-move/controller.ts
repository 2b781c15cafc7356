import { type ShardMoveStatus, shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { PostgresError, UnreachableError } from '../../postgres/postgres-error.ts';
import { ApiError } from '../../runtime/api-error.ts';
import type { Clock } from '../../runtime/clock.ts';
import {
  type Controller,
  defineController,
  type ReconcileContext,
  type ReconcileResult,
} from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import { hold, isHeldBy, letGo } from '../../runtime/finalizers.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { keyOf, keyString, type ObjectKey } from '../../runtime/kubernetes-object.ts';
import { changed, mapped } from '../../runtime/watches.ts';
import { drive, type PassReport } from '../../sharding/move/drive.ts';
import { firstRecord, type Move } from '../../sharding/move/model.ts';
import { shardedClusterType, shardMapType, shardMoveType } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../sharded-cluster/model.ts';
import { shardMapName } from '../sharded-cluster/names.ts';
import type { FindPrimaries } from '../sharded-cluster/primaries.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { volumeOf } from '../sharded-cluster/volume.ts';
import { afterPostgresError, type Beginning, beginningOf, isStillSo } from './beginning.ts';
import type { ShardMove } from './model.ts';
import { createHold, type Held, nothingHeld, pauseAnnotation, pausesOf } from './pause.ts';
import { watchSteps } from './progress.ts';
import { readModelThatCopies } from './read-model-copies.ts';
import { isOver, moveOf, withRecord } from './record.ts';
import { isRefusal, type Refusal, refusalOf } from './refusal.ts';
import { createStopwatch, type Stopwatch } from './stopwatch.ts';
import { suspendedText } from './suspended.ts';
import { createTelling, isStart } from './telling.ts';
import { closedWindow } from './window.ts';
import { createMoveWorld, type memberAddress, type ShardMoveWorld } from './world.ts';

/** What the controller works with. */
export interface ShardMoveDependencies {
  readonly client: KubeClient;
  readonly sources: Pick<Sources, 'claims' | 'clusters' | 'moves' | 'replicaSets'>;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly findPrimaries: FindPrimaries;
  /** How one shard's server reaches another's. */
  readonly addressOf: typeof memberAddress;
}

/** Keeps a ShardMove until what it made on the shards is gone. */
const finalizer = 'herdsman.dev/shard-move';
/** Building indexes and comparing rows take as long as they take. */
const longestPassMs = 6 * 3_600_000;
const soonMs = 20;
/** How long steps follow each other in one pass. */
const passMs = 3_000;
/** An ended move is looked at again after so long, and by each new leader for as long as `recentMs`. */
const lateMs = 60_000;
const recentMs = 3_600_000;

/** Moves buckets: one bounded step a pass, but for the switch, while which writers wait. */
export function shardMoveController(dependencies: ShardMoveDependencies): Controller {
  const { client, sources, connections, events, clock, findPrimaries, addressOf } = dependencies;
  const { say, tell, tellProgress, tellStart, writeStatus } = createTelling({ client, events, clock });
  /** What this process knows of moves under way that is not written down. */
  const memories = new Map<string, { readonly stopwatch: Stopwatch; readonly held: Held }>();
  /** What is to be written down before anything is made, and could not be yet. */
  const unwritten = new Map<string, { readonly uid: string; readonly beginning: Beginning }>();

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const cached = sources.moves.cache.get(key);
    if (cached === undefined) {
      memories.delete(keyString(key));
      unwritten.delete(keyString(key));
      return undefined;
    }
    if (isOver(cached.status) && !isHeldBy(cached, finalizer) && !isRecent(cached.status)) return undefined;
    const { signal } = context;
    const found = await client.get<ShardMove>(shardMoveType, key, { signal });
    if (found === undefined) return undefined;
    const shardMove: ShardMove = { ...found, spec: shardMoveSpec.parse(found.spec) };
    // Whatever it waits for: nothing has been made.
    const isUnbegun = shardMove.status?.from === undefined && !isOver(shardMove.status);
    if (isUnbegun && shardMove.metadata.deletionTimestamp !== undefined) return release(shardMove, signal);
    if (isUnbegun && shardMove.spec.cancel)
      return endUnbegun(
        shardMove,
        'cancelled',
        { reason: 'Cancelled', message: 'spec.cancel is set' },
        signal,
      );
    const cluster = await readCluster(shardMove, signal);
    if (cluster === undefined) return orphan(shardMove, signal);
    const map = await client.get<ShardMapObject>(
      shardMapType,
      { namespace: key.namespace, name: shardMapName(cluster.metadata.name) },
      { signal },
    );
    if (map === undefined) return say(shardMove, 'MapUnknown', 'the ShardMap is not there yet', signal);
    const suspended = suspendedText(shardMove, cluster);
    if (suspended !== undefined) {
      // What has ended keeps saying how.
      if (isOver(shardMove.status)) return { requeueAfterMs: lateMs };
      return say(shardMove, 'Suspended', suspended, signal);
    }
    if (shardMove.status?.phase === undefined) {
      const refusal = refusalOf(shardMove, cluster, map.spec, await reversedBy(shardMove, signal));
      if (refusal !== undefined) return refuse(shardMove, refusal, signal);
      if (shardMove.metadata.deletionTimestamp !== undefined) return release(shardMove, signal);
    }
    const closed = closedWindow(shardMove, cluster, clock.now());
    if (closed !== undefined) return say(shardMove, 'WindowClosed', closed, signal);
    if (mayBeHeld(shardMove)) {
      await hold(client, shardMoveType, shardMove, finalizer, signal);
      return { requeueAfterMs: soonMs };
    }
    return pass(shardMove, cluster, map, context);
  }

  async function pass(
    shardMove: ShardMove,
    cluster: ShardedCluster,
    map: ShardMapObject,
    { signal, log }: ReconcileContext,
  ): Promise<ReconcileResult | undefined> {
    const primaries = await findPrimaries(cluster, signal);
    const from = shardMove.status?.from;
    if (from === undefined) {
      if (isOver(shardMove.status)) return release(shardMove, signal);
      const { namespace, name } = cluster.metadata;
      const sets = sources.replicaSets.cache.byIndex(byCluster, clusterIndexValue(namespace, name));
      const copies = readModelThatCopies(shardMove, sets, clock.now());
      if (copies !== undefined) return say(shardMove, 'ReadModelCopies', copies, signal);
      return begin(shardMove, cluster, map, primaries, signal);
    }
    const move = moveOf(shardMove, from);
    const key = keyString({ namespace: cluster.metadata.namespace, name: shardMove.metadata.name });
    const memory = memories.get(key) ?? {
      stopwatch: createStopwatch(clock, move.verify),
      held: nothingHeld(),
    };
    memories.set(key, memory);
    const { stopwatch, held } = memory;
    const ofCluster = clusterIndexValue(cluster.metadata.namespace, cluster.metadata.name);
    const claims = sources.claims.cache.byIndex(byCluster, ofCluster);
    const watch = watchSteps(clock, (progress) => tellProgress(shardMove, progress, signal));
    const world = createMoveWorld({
      client,
      connections,
      cluster,
      shardMove,
      move,
      map: map.spec,
      primaries,
      addressOf,
      now: clock.now,
      signal,
      hold: createHold(shardMove, {
        clock,
        signal,
        held,
        read: () => client.get<ShardMove>(shardMoveType, keyOf(shardMove), { timeoutMs: 5_000 }),
        tell: (latest, reason, message) => say(latest, reason, message, signal),
      }),
      watch,
      volumes: { source: volumeOf(cluster, claims, from), target: volumeOf(cluster, claims, move.to) },
      others: () => sources.moves.cache.byIndex(byCluster, ofCluster),
      findings: stopwatch.findings,
      onStep(step, result, tookMs, view) {
        stopwatch.note(step, result, tookMs, view);
        const outcome = result === 'unknown' ? result : result.kind;
        log.info({ key, step: step.kind, outcome, tookMs, result }, 'step of a move');
        if (isStart(step) && outcome === 'done') tellStart(shardMove, move);
      },
    });
    const report = await driveFor(world, move, signal).finally(world.release);
    const message = report.ended ? '' : `${report.reason}: ${report.message}`;
    const lagBytes = lagOf(report.view);
    await tell(shardMove, message, lagBytes, signal);
    if (report.ended) {
      memories.delete(key);
      await release(shardMove, signal);
      // A leader that was paused may make something yet: it is looked for once more.
      const { status } = shardMove;
      return isOver(status) && !isYoung(status) ? undefined : { requeueAfterMs: lateMs };
    }
    return { requeueAfterMs: Math.max(soonMs, report.afterMs) };
  }

  /** What can go on at once does; the cluster and the map's bounds are read again after a while. */
  async function driveFor(world: ShardMoveWorld, move: Move, signal: AbortSignal): Promise<PassReport> {
    const until = clock.monotonicMs() + passMs;
    for (;;) {
      const report = await drive(world, { ...move, cancel: world.isCancelled() });
      if (report.ended || report.afterMs > 0 || clock.monotonicMs() >= until || signal.aborted) return report;
    }
  }

  /** Where it comes from, and which keys, is written down before anything is made. */
  async function begin(
    shardMove: ShardMove,
    cluster: ShardedCluster,
    map: ShardMapObject,
    primaries: ReadonlyMap<string, ConnectOptions>,
    signal: AbortSignal,
  ): Promise<ReconcileResult | undefined> {
    const { uid } = shardMove.metadata;
    const key = keyString(keyOf(shardMove));
    const known = unwritten.get(key);
    const isKnown = known?.uid === uid && isStillSo(known.beginning, shardMove.spec.group, map.spec);
    let beginning: Beginning | Refusal;
    try {
      beginning = isKnown
        ? known.beginning
        : await beginningOf(shardMove, { client, connections, cluster, map, primaries, signal });
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) return { requeueAfterMs: soonMs };
      if (error instanceof UnreachableError) return say(shardMove, 'ShardUnknown', error.message, signal);
      if (!(error instanceof PostgresError)) throw error;
      const next = afterPostgresError(error);
      if (isRefusal(next)) return refuse(shardMove, next, signal);
      await say(shardMove, 'Refused', error.message, signal);
      return next;
    }
    if (isRefusal(beginning)) return refuse(shardMove, beginning, signal);
    const { from, parents, children, bytes } = beginning;
    const status: ShardMoveStatus = {
      ...shardMove.status,
      from,
      parents: [...parents],
      children: [...children],
      phases: [{ name: 'preflight', startedAt: clock.now().toISOString() }],
      ...(bytes === undefined ? {} : { bytes }),
    };
    unwritten.set(key, { uid, beginning });
    await client.updateStatus(shardMoveType, { ...shardMove, status }, { signal });
    unwritten.delete(key);
    warnOfPauses(shardMove);
    return { requeueAfterMs: soonMs };
  }

  async function reversedBy(
    { metadata, spec }: ShardMove,
    signal: AbortSignal,
  ): Promise<ShardMove | undefined> {
    const { namespace } = metadata;
    const { reverseOf: name } = spec;
    return name === undefined
      ? undefined
      : client.get<ShardMove>(shardMoveType, { namespace, name }, { signal });
  }

  function warnOfPauses(shardMove: ShardMove): void {
    const { unknown } = pausesOf(shardMove);
    if (unknown.length === 0) return;
    const note = `annotation ${pauseAnnotation} names no step by ${unknown.join(', ')}: it is ignored; the README lists the steps`;
    events.record(shardMove, { type: 'Warning', reason: 'NoSuchStep', action: 'Move', note });
  }

  async function readCluster(shardMove: ShardMove, signal: AbortSignal): Promise<ShardedCluster | undefined> {
    const { namespace } = shardMove.metadata;
    const key = { namespace, name: shardMove.spec.cluster };
    const found =
      sources.clusters.cache.get(key) ??
      (await client.get<ShardedCluster>(shardedClusterType, key, { signal }));
    if (found === undefined) return undefined;
    return { ...found, spec: shardedClusterSpec.parse(found.spec) };
  }

  /** Without its cluster nothing can be done, and nothing shall keep the namespace from going. */
  async function orphan(shardMove: ShardMove, signal: AbortSignal): Promise<ReconcileResult | undefined> {
    if (isOver(shardMove.status) || shardMove.metadata.deletionTimestamp !== undefined)
      return release(shardMove, signal);
    const message = `there is no ShardedCluster "${shardMove.spec.cluster}" in this namespace`;
    return say(shardMove, 'NoSuchCluster', message, signal);
  }

  function refuse(shardMove: ShardMove, refusal: Refusal, signal: AbortSignal): Promise<undefined> {
    return endUnbegun(shardMove, 'failed', refusal, signal);
  }

  async function endUnbegun(
    shardMove: ShardMove,
    phase: 'failed' | 'cancelled',
    { reason, message }: Refusal,
    signal: AbortSignal,
  ): Promise<undefined> {
    const lastEnding = { reason, message, next: phase };
    const status = withRecord(shardMove.status, { ...firstRecord, phase, lastEnding }, clock.now());
    await writeStatus(shardMove, { ...status, message: `${reason}: ${message}` }, signal);
    const type = phase === 'failed' ? 'Warning' : 'Normal';
    events.record(shardMove, { type, reason, action: 'Move', note: message });
    return release(shardMove, signal);
  }

  async function release(shardMove: ShardMove, signal: AbortSignal): Promise<undefined> {
    await letGo(client, shardMoveType, shardMove, finalizer, signal);
    return undefined;
  }

  /** Ended less than a minute ago. */
  function isYoung(status: ShardMoveStatus | undefined): boolean {
    return clock.now().getTime() - Date.parse(status?.finishedAt ?? '') < lateMs;
  }

  /** Ended so lately that a new leader looks whether the one before it left something. */
  function isRecent(status: ShardMoveStatus | undefined): boolean {
    return clock.now().getTime() - Date.parse(status?.finishedAt ?? '') < recentMs;
  }

  return defineController<ShardMove>({
    name: 'shardmove',
    source: sources.moves,
    watches: [
      // A new shard, a lowered count and a resumed cluster wake the moves that wait for it.
      mapped(
        sources.clusters,
        ({ metadata }) =>
          sources.moves.cache
            .byIndex(byCluster, clusterIndexValue(metadata.namespace, metadata.name))
            .filter((shardMove) => !isOver(shardMove.status))
            .map((shardMove) => ({ namespace: metadata.namespace, name: shardMove.metadata.name })),
        changed('generation', 'deletion'),
      ),
    ],
    concurrency: 8,
    reconcileTimeoutMs: longestPassMs,
    reconcile,
  });
}

/** What the target has not confirmed, while there is a stream. */
function lagOf({ record, source }: PassReport['view']): number | undefined {
  if (source === 'unknown' || record.phase === 'finish' || record.phase === 'retain') return undefined;
  return source.slots.at(-1)?.lagBytes;
}

/** Whether it shall wait for us before it goes, and does not yet; one that goes already cannot be held any more. */
function mayBeHeld(shardMove: ShardMove): boolean {
  const { deletionTimestamp } = shardMove.metadata;
  return !isOver(shardMove.status) && deletionTimestamp === undefined && !isHeldBy(shardMove, finalizer);
}
