import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { layoutOf } from '../../sharding/layout.ts';
import {
  type BucketLoad,
  bucketText,
  compareShards,
  type Move,
  type RebalanceInput,
  type ShardCapacity,
} from '../../sharding/rebalance/model.ts';
import { isOpen } from '../../sharding/rebalance/move-window.ts';
import { placementOf } from '../../sharding/rebalance/placement.ts';
import { roomFactor, usableVolume } from '../../sharding/room.ts';
import { parseQuantity } from '../sharded-cluster/desired/quantity.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { heldByConversion } from '../sharded-cluster/reversible.ts';
import { wantedShards } from '../sharded-cluster/steps/shards.ts';
import { volumeOf } from '../sharded-cluster/volume.ts';
import { wantedNames } from '../sharded-cluster/wanted-shards.ts';
import { failingGroups, heldBuckets } from './failures.ts';
import { mostCoresPerOperation, settlingMs } from './measure.ts';
import type { MoveFacts, RebalanceView } from './model.ts';

/** A bucket that has moved is not moved again for so long for mere balance. */
const settledMs = 600_000;

/** Processors of one member: its limit, or without one what it asks for, and one at least, since it may take more. */
export function coresOf({ spec }: Pick<ShardedCluster, 'spec'>): number {
  const { limits, requests } = spec.resources;
  if (limits?.cpu !== undefined) return parseQuantity(limits.cpu) || 1;
  return Math.max(1, parseQuantity(requests?.cpu ?? '1'));
}

/** How often load is measured. */
export function intervalOf({ spec }: Pick<ShardedCluster, 'spec'>): number {
  return durationMs(spec.rebalance.interval) ?? 30_000;
}

/** When moves of a group are tried again that have failed. */
export const groupIsTriedAgain = 'they are tried again after half an hour';

/** Why the rebalancer leaves it to others to move anything. */
export function mayNotAct({ cluster, now }: Pick<RebalanceView, 'cluster' | 'now'>): string | undefined {
  const { mode, dryRun, window } = cluster.spec.rebalance;
  if (mode !== 'auto') return 'mode is manual: write the ShardMoves that you want';
  if (dryRun) return 'dryRun: nothing is moved';
  if (isOpen(window, now)) return undefined;
  return `the window opens at ${window?.start} UTC`;
}

/** Every shard that is wanted, is there, or owns a bucket. */
export function shardsOf(cluster: ShardedCluster, map: ShardMapSpec): string[] {
  const owners = map.groups.flatMap((group) => group.buckets.map((bucket) => bucket.shard));
  const items = (cluster.status?.shards?.items ?? []).map((item) => item.name);
  return [...new Set([...wantedNames(cluster), ...items, ...owners])].sort(compareShards);
}

/** The moves under way: those of ShardMoves that have not ended. */
export function runningMoves({ moves, map }: Pick<RebalanceView, 'moves' | 'map'>): Move[] {
  const owners = new Map(
    map.groups.flatMap(({ name, buckets }) =>
      buckets.map(({ id, shard }) => [bucketText({ group: name, id }), shard] as const),
    ),
  );
  return moves
    .filter((move) => move.isRunning)
    .flatMap((move) => move.buckets)
    .filter((move) => owners.has(bucketText(move)));
}

/** Whether statistics may still tell of a move that has ended. */
export function isSettling(moves: readonly MoveFacts[], now: Date): boolean {
  return moves.some(({ movedAtMs, failedAtMs }) => {
    const endedMs = movedAtMs ?? failedAtMs;
    return endedMs !== undefined && now.getTime() - endedMs < settlingMs;
  });
}

/** So many times as long as a move took its shards rest from moves, so that clients have them to themselves most of the time. */
const restFactor = 2;
const longestRestMs = 60_000;

/** Shards that rest after a move, each with how much longer. */
export function restingShards(moves: readonly MoveFacts[], now: Date): ReadonlyMap<string, number> {
  const resting = new Map<string, number>();
  for (const { buckets, movedAtMs, tookMs = 0 } of moves) {
    if (movedAtMs === undefined) continue;
    const leftMs = movedAtMs + Math.min(restFactor * tookMs, longestRestMs) - now.getTime();
    if (leftMs <= 0) continue;
    for (const { from, to } of buckets) {
      for (const shard of [from, to]) resting.set(shard, Math.max(leftMs, resting.get(shard) ?? 0));
    }
  }
  return resting;
}

/** The world in the planner's terms. */
export function worldOf(view: RebalanceView): RebalanceInput {
  const { cluster, map, measurements } = view;
  const { strategy, threshold, improvementThreshold, maxConcurrent } = cluster.spec.rebalance;
  const shards = shardsOf(cluster, map);
  const buckets = bucketsOf(view);
  return {
    shards: shards.map((name) => capacityOf(view, name)),
    buckets,
    running: runningMoves(view),
    settings: {
      strategy,
      threshold: threshold / 100,
      improvementThreshold: improvementThreshold / 100,
      maxConcurrent,
    },
    meanUtilisation:
      buckets.reduce((sum, { load }) => sum + load, 0) /
      (Math.max(1, measurements.rates.size) * coresOf(cluster)),
    bytesPerSecond: medianRate(view) ?? assumedBytesPerSecond,
  };
}

function capacityOf({ cluster, claims, measurements }: RebalanceView, name: string): ShardCapacity {
  const item = cluster.status?.shards?.items.find((candidate) => candidate.name === name);
  const newest = cluster.spec.schema.at(-1)?.name;
  const stats = measurements.latest.get(name)?.stats;
  const volume = volumeOf(cluster, claims, name);
  return {
    name,
    capacity: coresOf(cluster),
    isDraining: !wantedNames(cluster).includes(name),
    // A shard without the newest migration has not the tables that a bucket needs.
    isAvailable:
      item?.ready === true &&
      stats !== undefined &&
      !measurements.silent.has(name) &&
      (newest === undefined || item.schemaVersion === newest),
    ...(stats === undefined
      ? {}
      : {
          freeBytes: Math.max(0, Math.floor((usableVolume * volume.bytes - stats.usedBytes) / roomFactor)),
        }),
  };
}

function bucketsOf(view: RebalanceView): BucketLoad[] {
  const { cluster, map, measurements, moves, now } = view;
  const layout = layoutOf(cluster.spec.tables);
  const wanted = wantedShards(cluster);
  const cores = coresOf(cluster);
  const settling = new Set(
    moves
      .filter(({ movedAtMs }) => movedAtMs !== undefined && now.getTime() - movedAtMs < settledMs)
      .flatMap((move) => move.buckets.map(bucketText)),
  );
  const held = heldBuckets(view);
  const failing = failingGroups(view);
  const obstacle = mayNotAct(view);
  const setbackOf = (group: string, key: string): string | undefined => {
    const [one, all] = [held.get(key), failing.get(group)];
    if (all !== undefined)
      return `${one ?? `moves of its group fail (${all})`}; ${obstacle ?? groupIsTriedAgain}`;
    return one === undefined
      ? undefined
      : `${one}; ${obstacle ?? 'it is tried again ten minutes after that'}`;
  };
  const sizes = new Map(
    [...measurements.latest.values()].flatMap(({ name, stats }) =>
      stats.buckets.map((bucket) => [`${name}/${bucketText(bucket)}`, bucket.bytes] as const),
    ),
  );
  // A bucket that has just moved has the size that its old shard told.
  const anywhere = new Map(
    [...measurements.latest.values()].flatMap(({ stats }) =>
      stats.buckets.map((bucket) => [bucketText(bucket), bucket.bytes] as const),
    ),
  );
  const perOperation = coresPerOperation(view, cores);
  return map.groups.flatMap((group) =>
    group.buckets.map((bucket): BucketLoad => {
      const key = bucketText({ group: group.name, id: bucket.id });
      const { allowed, isPinned } = placementOf(bucket, group, layout, wanted);
      const immovable = heldByConversion(cluster, group.name);
      const setback = bucket.pending === undefined ? setbackOf(group.name, key) : undefined;
      return {
        group: group.name,
        id: bucket.id,
        shard: bucket.shard,
        load: (measurements.load.rates[key] ?? 0) * perOperation,
        bytes: sizes.get(`${bucket.shard}/${key}`) ?? anywhere.get(key) ?? 0,
        isPinned: isPinned || settling.has(key),
        isHeld: bucket.pending !== undefined || setback !== undefined,
        ...(allowed === undefined ? {} : { allowed }),
        ...(immovable === undefined ? {} : { immovable }),
        ...(setback === undefined ? {} : { setback }),
      };
    }),
  );
}

/**
 * What an operation costs on the average of all shards, so that a bucket keeps its load when it moves. What the servers use
 * beyond what operations can cost is not the buckets'.
 */
function coresPerOperation({ map, measurements }: RebalanceView, cores: number): number {
  const keys = map.groups.flatMap(({ name, buckets }) =>
    buckets.map(({ id }) => bucketText({ group: name, id })),
  );
  const operations = keys.reduce((sum, key) => sum + (measurements.load.rates[key] ?? 0), 0);
  const used = [...measurements.rates.values()].reduce(
    (sum, { utilisation }) => sum + utilisation * cores,
    0,
  );
  return operations === 0 ? 0 : Math.min(used / operations, mostCoresPerOperation);
}

/** Of a whole move, as long as none has been measured: two processors and a local disk did 31 to 85 MB/s. */
const assumedBytesPerSecond = 40 * 1024 ** 2;

/** The middle of the rates of recent moves: one that waited long does not spoil the estimate. */
function medianRate({ moves }: RebalanceView): number | undefined {
  const rates = moves
    .toSorted((a, b) => (a.movedAtMs ?? 0) - (b.movedAtMs ?? 0))
    .flatMap(({ bytesPerSecond }) => bytesPerSecond ?? [])
    .slice(-20)
    .sort((a, b) => a - b);
  return rates[Math.floor(rates.length / 2)];
}
