import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import {
  dropSlot,
  orphansOf,
  parseSyncSlot,
  readDebris,
  readSubscriber,
  readSyncSlots,
  removeDebris,
  removeSubscriptions,
  type Subscriber,
  type SyncSlot,
} from '../../postgres/move/debris.ts';
import { type PreparedMove, readPreparedMoves, resolvePrepared } from '../../postgres/move/sweep.ts';
import { PostgresError } from '../../postgres/postgres-error.ts';
import { dropStaleSlot, readStaleSlots } from '../../postgres/stale-slots.ts';
import type { Clock } from '../../runtime/clock.ts';
import {
  type Controller,
  defineController,
  type ReconcileContext,
  type ReconcileResult,
} from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import type { ObjectKey } from '../../runtime/kubernetes-object.ts';
import { clearPending } from '../../sharding/move/map-change.ts';
import { isOfMove, moveId } from '../../sharding/move/names.ts';
import { judgeStray, ownedBy, type Sentence, withoutPending } from '../../sharding/move/sweep.ts';
import { shardMapType, shardMoveType } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../sharded-cluster/model.ts';
import { shardMapName } from '../sharded-cluster/names.ts';
import type { FindPrimaries, FindStandbys, Standby } from '../sharded-cluster/primaries.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import type { ShardMove } from './model.ts';
import { prunable } from './prune.ts';
import { isOver } from './record.ts';

/** What the sweeper works with. */
export interface MoveSweeperDependencies {
  readonly client: KubeClient;
  readonly sources: Pick<Sources, 'clusters' | 'maps' | 'moves'>;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly findPrimaries: FindPrimaries;
  readonly findStandbys: FindStandbys;
  /** Age at which a prepared transaction is looked at, and how often; a minute by default. */
  readonly everyMs?: number;
}

/**
 * Resolves what ShardMoves that are gone have left prepared, and takes away all else that they made: their finalizer keeps them
 * until all is done, but a person can take it away. Such a transaction would keep a bucket from its writers for good, and a slot
 * would fill the disk. Finished ShardMoves of the operator's own go after a time.
 */
export function moveSweeper(dependencies: MoveSweeperDependencies): Controller {
  const { client, sources, connections, events, clock, everyMs = 60_000 } = dependencies;
  const { findPrimaries, findStandbys } = dependencies;

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const found = sources.clusters.cache.get(key);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) return undefined;
    const cluster: ShardedCluster = { ...found, spec: shardedClusterSpec.parse(found.spec) };
    if (cluster.spec.suspend || cluster.spec.tables.length === 0) return undefined;
    const primaries = await findPrimaries(cluster, context.signal);
    for (const [shard, options] of primaries) await sweep(cluster, shard, options, context);
    await sweepDebris(cluster, primaries, context);
    await sweepSyncSlots(cluster, primaries, context);
    await sweepStandbys(cluster, primaries, context);
    await prune(cluster, context.signal);
    return { requeueAfterMs: everyMs };
  }

  async function sweep(
    cluster: ShardedCluster,
    shard: string,
    options: ConnectOptions,
    context: ReconcileContext,
  ): Promise<void> {
    // The transactions first, then who may still want them: a ShardMove is older than all that it prepares.
    const prepared = await read(options);
    if (prepared.length === 0) return;
    const wanted = new Set((await movesOf(cluster, context.signal)).map(idOf));
    for (const stray of prepared.filter(({ id }) => !wanted.has(id))) {
      const sentence = await judge(cluster, shard, stray, context.signal);
      if (sentence.kind === 'clear-pending') continue;
      await connections.use(options, (connection) => resolvePrepared(connection, stray.gid, sentence.kind));
      const verb = sentence.kind === 'commit' ? 'committed' : 'rolled back';
      const note = `prepared transaction ${stray.gid} of a ShardMove that is gone was ${verb} on shard ${shard}`;
      context.log.warn({ shard, gid: stray.gid, sentence: sentence.kind }, 'stray transaction of a move');
      events.record(cluster, { type: 'Warning', reason: 'MoveSwept', action: 'Sweep', note });
    }
  }

  /** What else they have left: only when nothing is prepared any more, so that the map says all. */
  async function sweepDebris(
    cluster: ShardedCluster,
    primaries: ReadonlyMap<string, ConnectOptions>,
    { signal, log }: ReconcileContext,
  ): Promise<void> {
    const found = new Map<string, readonly string[]>();
    for (const [shard, options] of primaries) found.set(shard, await readStray(options));
    const { namespace, name } = cluster.metadata;
    const isQuiet = [...found.values()].every((ids) => ids.length === 0);
    if (isQuiet && !announcesStray(cluster)) return;
    const map = await client.get<ShardMapObject>(
      shardMapType,
      { namespace, name: shardMapName(name) },
      { signal },
    );
    if (map === undefined) return;
    const moves = await movesOf(cluster, signal);
    const wanted = new Set(moves.map(idOf));
    const prepared = new Set<string>();
    for (const options of primaries.values()) for (const { id } of await read(options, 0)) prepared.add(id);
    const isStray = (id: string) => !wanted.has(id) && !prepared.has(id);
    const isOverOrGone = isNoneOf(underWay(moves));
    const settled = withoutPending(map.spec, (id) => isOverOrGone(id) && !prepared.has(id));
    if (settled !== map.spec) {
      await client.update(shardMapType, { ...map, spec: settled }, { signal });
      const note =
        'the ShardMap announced moves that are over: it was taken back, so that others can move the buckets';
      events.record(cluster, { type: 'Warning', reason: 'MoveSwept', action: 'Sweep', note });
    }
    // A subscription takes the slots of its tables along, for which the source's role has to be there.
    for (const [shard, options] of primaries) {
      for (const id of (found.get(shard) ?? []).filter(isStray))
        await connections.use(options, (connection) => removeSubscriptions(connection, id));
    }
    for (const [shard, options] of primaries) {
      const owned = ownedBy(settled, shard);
      for (const id of (found.get(shard) ?? []).filter(isStray)) {
        const outcome = await connections.use(options, (connection) => removeDebris(connection, id, owned));
        log.warn({ shard, id, outcome }, 'debris of a move');
        const what = `what ShardMove hm_${id}, which is gone, left on shard ${shard}`;
        const note =
          outcome === 'removed'
            ? `${what} was taken away`
            : `${what} was kept: a leaf there refuses writes or should be the owner's; see herdsman.moves`;
        events.record(cluster, { type: 'Warning', reason: 'MoveSwept', action: 'Sweep', note });
      }
    }
  }

  /** Slots of single tables whose subscription went without them, as when its source did not answer: they would keep WAL for good. */
  async function sweepSyncSlots(
    cluster: ShardedCluster,
    primaries: ReadonlyMap<string, ConnectOptions>,
    { log }: ReconcileContext,
  ): Promise<void> {
    const found: [string, ConnectOptions, readonly SyncSlot[]][] = [];
    for (const [shard, options] of primaries) {
      const slots = await connections.use(options, readSyncSlots);
      if (slots.length > 0) found.push([shard, options, slots]);
    }
    if (found.length === 0) return;
    const subscribers = await readSubscribers(primaries);
    for (const [shard, options, slots] of found) {
      for (const { name } of orphansOf(slots, subscribers)) {
        await connections.use(options, (connection) => dropSlot(connection, name));
        log.warn({ shard, slot: name }, 'slot of a subscription that is gone');
        const note = `replication slot ${name} on shard ${shard}, whose subscription is gone, was dropped`;
        events.record(cluster, { type: 'Warning', reason: 'MoveSwept', action: 'Sweep', note });
      }
    }
  }

  /**
   * Slots that a primary had for copies, and keeps as a standby: they only keep WAL, for good, and what is newer of the same name is
   * not synchronized beside them.
   */
  async function sweepStandbys(
    cluster: ShardedCluster,
    primaries: ReadonlyMap<string, ConnectOptions>,
    { signal, log }: ReconcileContext,
  ): Promise<void> {
    for (const standby of await findStandbys(cluster, signal)) {
      const { shard, member } = standby;
      try {
        for (const slot of await uselessSlots(standby, primaries)) {
          if (!(await connections.use(standby.options, (connection) => dropStaleSlot(connection, slot))))
            continue;
          log.warn({ shard, member, slot }, 'slot of a copy on a standby');
          const note = `replication slot ${slot} of a copy that is over was dropped on ${member}, which was the primary of shard ${shard}`;
          events.record(cluster, { type: 'Normal', reason: 'MoveSwept', action: 'Sweep', note });
        }
      } catch (error) {
        // A standby that does not answer keeps nobody else waiting.
        if (signal.aborted) throw error;
        const message = error instanceof Error ? error.message : String(error);
        log.warn({ shard, member, error: message }, 'cannot look for slots on a standby');
      }
    }
  }

  /**
   * Those of moves, also of one that goes on: a standby leaves its timeline when it is promoted, and a move copies anew whose shard has
   * another timeline than when its copy began. Those of single tables may be somebody else's.
   */
  async function uselessSlots(
    { options }: Standby,
    primaries: ReadonlyMap<string, ConnectOptions>,
  ): Promise<readonly string[]> {
    const stale = await connections.use(options, readStaleSlots);
    const tables = stale.flatMap((name) => parseSyncSlot(name) ?? []);
    const subscribers = tables.length === 0 ? [] : await readSubscribers(primaries);
    return [...stale.filter(isOfMove), ...orphansOf(tables, subscribers).map(({ name }) => name)];
  }

  async function readSubscribers(primaries: ReadonlyMap<string, ConnectOptions>): Promise<Subscriber[]> {
    const found = await Promise.all(
      [...primaries.values()].map((options) => connections.use(options, readSubscriber)),
    );
    return found.flatMap((subscriber) => subscriber ?? []);
  }

  /** Whether a map announces a move that is over or gone, as far as is known: whoever edits a map can write any name. */
  function announcesStray({ metadata }: ShardedCluster): boolean {
    const { namespace, name } = metadata;
    const map = sources.maps.cache.get({ namespace, name: shardMapName(name) });
    const moves = sources.moves.cache.byIndex(byCluster, clusterIndexValue(namespace, name));
    return map !== undefined && withoutPending(map.spec, isNoneOf(underWay(moves))) !== map.spec;
  }

  async function readStray(options: ConnectOptions): Promise<readonly string[]> {
    try {
      return await connections.use(options, readDebris);
    } catch (error) {
      if (error instanceof PostgresError && error.sqlstate === '42P01') return [];
      throw error;
    }
  }

  async function prune({ metadata }: ShardedCluster, signal: AbortSignal): Promise<void> {
    const { namespace, name } = metadata;
    const moves = sources.moves.cache.byIndex(byCluster, clusterIndexValue(namespace, name));
    for (const { metadata } of prunable(moves, clock.now())) {
      await client.delete(shardMoveType, { namespace, name: metadata.name }, { uid: metadata.uid, signal });
    }
  }

  async function read(options: ConnectOptions, olderThanMs = everyMs): Promise<readonly PreparedMove[]> {
    try {
      return await connections.use(options, (connection) => readPreparedMoves(connection, olderThanMs));
    } catch (error) {
      // A shard that has not been set up yet has prepared nothing.
      if (error instanceof PostgresError && error.sqlstate === '42P01') return [];
      throw error;
    }
  }

  /** Every ShardMove there is, as the API server itself says. */
  async function movesOf({ metadata }: ShardedCluster, signal: AbortSignal): Promise<readonly ShardMove[]> {
    const { namespace } = metadata;
    const { items } = await client.listAll<ShardMove>(shardMoveType, { namespace, signal });
    return items;
  }

  /** By the map of this moment; an announcement is taken back first. */
  async function judge(
    { metadata }: ShardedCluster,
    shard: string,
    stray: PreparedMove,
    signal: AbortSignal,
  ): Promise<Sentence> {
    const key = { namespace: metadata.namespace, name: shardMapName(metadata.name) };
    const map = await client.get<ShardMapObject>(shardMapType, key, { signal });
    if (map === undefined) throw new Error(`ShardMap ${key.name} is not there`);
    const sentence = judgeStray(stray, shard, map.spec);
    if (sentence.kind !== 'clear-pending') return sentence;
    const spec = clearPending(map.spec, { ...sentence, key: sentence.move }, sentence.attempt);
    if (spec === undefined) return sentence;
    const cleared = await client.update(shardMapType, { ...map, spec }, { signal });
    return judgeStray(stray, shard, cleared.spec);
  }

  return defineController<ShardedCluster>({
    name: 'movesweeper',
    source: sources.clusters,
    concurrency: 1,
    reconcile,
  });
}

function idOf({ metadata }: ShardMove): string {
  return moveId(metadata.uid);
}

/** Those that may still change the map. */
function underWay(moves: readonly ShardMove[]): readonly ShardMove[] {
  return moves.filter(({ status }) => !isOver(status));
}

function isNoneOf(moves: readonly ShardMove[]): (id: string) => boolean {
  const ids = new Set(moves.map(idOf));
  return (id) => !ids.has(id);
}
