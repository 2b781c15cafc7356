import { type BucketKey, bucketText } from './model.ts';

/** What PostgreSQL has counted on all leaves of a bucket since its statistics began. */
export interface BucketCounters {
  /** Rows read by scans, of tables and of indexes. */
  readonly reads: number;
  /** Rows inserted, updated and deleted. */
  readonly writes: number;
  /** Blocks that were not in shared buffers. */
  readonly blocks: number;
}

/** Counters of one bucket. */
export interface CountedBucket extends BucketKey, BucketCounters {}

/** What one shard said at one time. */
export interface LoadSample {
  readonly atMs: number;
  /** Changes whenever the counters start anew or come from another server: its start, its timeline, its last reset. */
  readonly incarnation: string;
  /** Buckets that the shard owns and that are not being moved: copying is no load. */
  readonly buckets: readonly CountedBucket[];
}

/** The last sample of a shard, to compare the next one with. */
export interface LoadBaseline {
  readonly atMs: number;
  readonly incarnation: string;
  readonly counters: Readonly<Record<string, BucketCounters>>;
}

/** Smoothed load per bucket, in weighted operations a second. Only `rates` need outlive the process. */
export interface LoadState {
  readonly rates: Readonly<Record<string, number>>;
  readonly baselines: Readonly<Record<string, LoadBaseline>>;
}

/** Nothing measured yet. */
export const noLoad: LoadState = { rates: {}, baselines: {} };

/** What an operation weighs: a write also goes to WAL, indexes and standbys; a block may come from the disk. */
const weights = { reads: 1, writes: 4, blocks: 10 };

/**
 * Takes in what shards said; those that said nothing keep what was known of them. Counters that ran back, a new incarnation
 * of the server or a bucket seen for the first time start a new comparison and change no rate.
 */
export function addSamples(
  state: LoadState,
  samples: ReadonlyMap<string, LoadSample>,
  halfLifeMs: number,
): LoadState {
  const rates: Record<string, number> = { ...state.rates };
  const baselines: Record<string, LoadBaseline> = { ...state.baselines };
  for (const [shard, sample] of samples) {
    const before = baselines[shard];
    if (before !== undefined && before.incarnation === sample.incarnation) {
      const elapsedMs = sample.atMs - before.atMs;
      // Two readings of one moment say nothing, and a clock that went back would divide by less than nothing.
      if (elapsedMs === 0) continue;
      if (elapsedMs > 0) smooth(rates, before, sample, elapsedMs, halfLifeMs);
    }
    baselines[shard] = {
      atMs: sample.atMs,
      incarnation: sample.incarnation,
      counters: Object.fromEntries(sample.buckets.map((bucket) => [bucketText(bucket), countersOf(bucket)])),
    };
  }
  return { rates, baselines };
}

/** Drops what is known of buckets and shards that are no more. */
export function forgetLoad(
  state: LoadState,
  buckets: ReadonlySet<string>,
  shards: ReadonlySet<string>,
): LoadState {
  const keep = <T>(entries: Readonly<Record<string, T>>, names: ReadonlySet<string>) =>
    Object.fromEntries(Object.entries(entries).filter(([name]) => names.has(name)));
  return { rates: keep(state.rates, buckets), baselines: keep(state.baselines, shards) };
}

function smooth(
  rates: Record<string, number>,
  before: LoadBaseline,
  sample: LoadSample,
  elapsedMs: number,
  halfLifeMs: number,
): void {
  const weight = 1 - 2 ** (-elapsedMs / halfLifeMs);
  for (const bucket of sample.buckets) {
    const name = bucketText(bucket);
    const previous = before.counters[name];
    const work = previous === undefined ? undefined : workBetween(previous, bucket);
    if (work === undefined) continue;
    const rate = (work * 1_000) / elapsedMs;
    const known = rates[name];
    rates[name] = known === undefined ? rate : known + weight * (rate - known);
  }
}

/** Weighted operations between two readings; `undefined` when a counter ran back (pg_stat_reset of a table). */
function workBetween(before: BucketCounters, after: BucketCounters): number | undefined {
  const reads = after.reads - before.reads;
  const writes = after.writes - before.writes;
  const blocks = after.blocks - before.blocks;
  if (reads < 0 || writes < 0 || blocks < 0) return undefined;
  return weights.reads * reads + weights.writes * writes + weights.blocks * blocks;
}

function countersOf({ reads, writes, blocks }: BucketCounters): BucketCounters {
  return { reads, writes, blocks };
}
