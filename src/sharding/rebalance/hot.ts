import type { BucketKey } from './model.ts';

/** What one window of time showed of a shard. */
export interface ShardWindow {
  readonly name: string;
  /** Share of its processors that it used, 0 to 1. */
  readonly utilisation: number;
  readonly buckets: readonly BucketWindow[];
}

/** What one window showed of a bucket. */
export interface BucketWindow extends BucketKey {
  /** Its part of the load of its shard, 0 to 1. */
  readonly share: number;
  /** The key value with most rows, and its part of the bucket. */
  readonly topKey?: { readonly value: string; readonly share: number };
}

/** One window: the shards that were measured. */
export type LoadWindow = readonly ShardWindow[];

/** What is too hot, and what helps. */
export type HotSpot =
  | { readonly kind: 'shard'; readonly shard: string; readonly utilisation: number; readonly median: number }
  | {
      readonly kind: 'bucket';
      readonly shard: string;
      readonly bucket: BucketKey;
      readonly share: number;
      readonly remedy: 'move' | 'split';
    }
  | {
      readonly kind: 'tenant';
      readonly shard: string;
      readonly bucket: BucketKey;
      readonly tenant: string;
      readonly share: number;
    };

/** Number of windows that are looked at. */
export const hotWindows = 5;
const hotInWindows = 3;
const hotUtilisation = 0.7;
const overMedian = 1.25;
const moveShare = 0.3;
const splitShare = 0.6;
const isolateShare = 0.5;

/**
 * What is hot in the last five windows: a shard over 70 % and over 1.25 × the median in three of them; on such a shard a
 * bucket with 30 % of its load (to be moved) or 60 % (to be split), and a tenant with half of such a bucket (to be isolated).
 */
export function hotSpots(history: readonly LoadWindow[]): HotSpot[] {
  const recent = history.slice(-hotWindows);
  const names = new Set(recent.flatMap((window) => window.map((shard) => shard.name)));
  return [...names].sort().flatMap((name) => hotSpotsOf(name, recent));
}

function hotSpotsOf(name: string, recent: readonly LoadWindow[]): HotSpot[] {
  const hot = recent.flatMap((window) => {
    const shard = window.find((candidate) => candidate.name === name);
    const median = medianOf(window.map((candidate) => candidate.utilisation));
    return shard !== undefined && isHot(shard.utilisation, median) ? [{ shard, median }] : [];
  });
  const last = hot.at(-1);
  if (last === undefined || hot.length < hotInWindows) return [];
  const { utilisation } = last.shard;
  const buckets = last.shard.buckets.flatMap((bucket): HotSpot[] => {
    const { group, id } = bucket;
    // A bucket is judged on all the hot windows, so that one burst does not move it.
    const share = meanShare(
      bucket,
      hot.map(({ shard }) => shard),
    );
    if (share < moveShare) return [];
    const key = { group, id };
    const remedy = share >= splitShare ? 'split' : 'move';
    const spots: HotSpot[] = [{ kind: 'bucket', shard: name, bucket: key, share, remedy }];
    if (bucket.topKey !== undefined && bucket.topKey.share >= isolateShare) {
      const { value, share: part } = bucket.topKey;
      spots.push({ kind: 'tenant', shard: name, bucket: key, tenant: value, share: part });
    }
    return spots;
  });
  return [{ kind: 'shard', shard: name, utilisation, median: last.median }, ...buckets];
}

function isHot(utilisation: number, median: number): boolean {
  return utilisation > hotUtilisation && utilisation > overMedian * median;
}

function meanShare({ group, id }: BucketKey, shards: readonly ShardWindow[]): number {
  const shares = shards.map(
    ({ buckets }) => buckets.find((bucket) => bucket.group === group && bucket.id === id)?.share ?? 0,
  );
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}
