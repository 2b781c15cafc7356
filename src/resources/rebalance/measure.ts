import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { type BucketWindow, hotWindows, type LoadWindow } from '../../sharding/rebalance/hot.ts';
import { addSamples, forgetLoad, type LoadSample, type LoadState } from '../../sharding/rebalance/load.ts';
import { bucketText, type Move } from '../../sharding/rebalance/model.ts';
import type { Measurements, ShardMeasure, ShardRates } from './model.ts';

/** Nothing measured, but for loads that an earlier process left. */
export function startMeasurements(rates: LoadState['rates']): Measurements {
  return {
    load: { rates, baselines: {} },
    latest: new Map(),
    rates: new Map(),
    windows: [],
    silent: new Set(),
    hotKeys: [],
  };
}

/** How measurements are read. */
export interface MeasureSettings {
  /** Processors of one member. */
  readonly cores: number;
  readonly halfLifeMs: number;
  /** Moves under way: what they copy and compare is no load of the buckets and shards that take part. */
  readonly moving?: readonly Move[];
  /** Whether one has ended so lately that statistics of what it read and wrote may still come in. */
  readonly isSettling?: boolean;
}

/** So long after its end nothing of a move comes into statistics any more: sessions at rest hand theirs in after ten seconds. */
export const settlingMs = 15_000;
/** The longest for which loads from before moves stand for those during them. */
const longestHoldMs = 600_000;

/**
 * Cores that one row a second takes at most, in an operation's weight of 1: a server that uses more for its rows is busy with
 * something else, which is no load of its buckets.
 */
export const mostCoresPerOperation = 0.002;

/** Sessions that execute for less than this part of the processors' time are no load. */
const restingActivity = 0.02;

/**
 * Whether it is worth to ask a metrics server for the cores that the shards use. A server at rest uses some, too, which
 * says nothing of its buckets.
 */
export function isBusy({ rates }: Measurements): boolean {
  return [...rates.values()].some(({ activity }) => activity >= restingActivity);
}

/**
 * Takes in one round of measurements; a shard that did not answer keeps what was known of it. While anything moves, and a
 * little after, every bucket keeps the load that it had before: what clients do then depends on the moves, and those that have
 * moved would be compared with those that have not by loads of different times.
 */
export function addMeasures(
  before: Measurements,
  map: ShardMapSpec,
  measures: readonly ShardMeasure[],
  shards: readonly string[],
  { cores, halfLifeMs, moving = [], isSettling = false }: MeasureSettings,
): Measurements {
  const owners = ownersOf(map, new Set(moving.map(bucketText)));
  const copying = new Set(moving.flatMap(({ from, to }) => [from, to]));
  const calm = calmOf(before, measures, moving.length === 0 && !isSettling);
  const held = calm.isOver ? {} : before.load.rates;
  const samples = new Map(measures.map((measure) => [measure.name, sampleOf(measure, owners, held)]));
  const known = new Set(shards);
  const load = forgetLoad(addSamples(before.load, samples, halfLifeMs), new Set(owners.keys()), known);
  const latest = new Map([...before.latest].filter(([name]) => known.has(name)));
  const rates = new Map([...before.rates].filter(([name]) => known.has(name)));
  const current = new Map<string, ShardRates>();
  for (const measure of measures) {
    const measured = ratesBetween(before.latest.get(measure.name), measure, cores);
    latest.set(measure.name, measure);
    if (measured === undefined || copying.has(measure.name)) continue;
    current.set(measure.name, measured);
    rates.set(measure.name, smoothed(before, measure, measured, halfLifeMs));
  }
  const window = windowOf(current, owners, load, cores);
  return {
    ...(calm.atMs === undefined ? {} : { calmAtMs: calm.atMs }),
    load,
    latest,
    rates,
    windows: window.length === 0 ? before.windows : [...before.windows, window].slice(-hotWindows),
    silent: new Set(shards.filter((name) => !samples.has(name))),
    hotKeys: before.hotKeys,
  };
}

/** When nothing moved last, and whether what was measured then is too old to stand for the present. */
function calmOf(
  { calmAtMs }: Measurements,
  measures: readonly ShardMeasure[],
  isCalm: boolean,
): { readonly atMs: number | undefined; readonly isOver: boolean } {
  const [nowMs] = measures.map(({ atMs }) => atMs).sort((a, b) => b - a);
  if (isCalm || nowMs === undefined) return { atMs: nowMs ?? calmAtMs, isOver: true };
  const atMs = calmAtMs ?? nowMs;
  return { atMs, isOver: nowMs - atMs >= longestHoldMs };
}

interface Owned {
  readonly group: string;
  readonly id: number;
  readonly shard: string;
  readonly isMoving: boolean;
}

function ownersOf(map: ShardMapSpec, moving: ReadonlySet<string>): Map<string, Owned> {
  return new Map(
    map.groups.flatMap(({ name, buckets }) =>
      buckets.map(({ id, shard, pending }): [string, Owned] => [
        bucketText({ group: name, id }),
        {
          group: name,
          id,
          shard,
          isMoving: pending !== undefined || moving.has(bucketText({ group: name, id })),
        },
      ]),
    ),
  );
}

/** A shard's buckets by the map, but for those whose load is held: what it has attached besides belongs to a move. */
function sampleOf(
  { name, atMs, stats }: ShardMeasure,
  owners: ReadonlyMap<string, Owned>,
  held: LoadState['rates'],
): LoadSample {
  const buckets = stats.buckets.filter((bucket) => {
    const owned = owners.get(bucketText(bucket));
    return owned?.shard === name && !owned.isMoving && held[bucketText(bucket)] === undefined;
  });
  return { atMs, incarnation: stats.incarnation, buckets };
}

function ratesBetween(
  before: ShardMeasure | undefined,
  after: ShardMeasure,
  cores: number,
): ShardRates | undefined {
  if (before === undefined || before.stats.incarnation !== after.stats.incarnation) return undefined;
  const elapsedMs = after.atMs - before.atMs;
  const activeMs = after.stats.activeMs - before.stats.activeMs;
  const transactions = after.stats.transactions - before.stats.transactions;
  if (elapsedMs <= 0 || activeMs < 0 || transactions < 0) return undefined;
  const activity = activeMs / elapsedMs / cores;
  return {
    utilisation: after.cores === undefined ? activity : after.cores / cores,
    activity,
    transactionsPerSecond: (transactions * 1_000) / elapsedMs,
  };
}

function smoothed(
  before: Measurements,
  { name, atMs }: ShardMeasure,
  measured: ShardRates,
  halfLifeMs: number,
): ShardRates {
  const known = before.rates.get(name);
  const last = before.latest.get(name);
  if (known === undefined || last === undefined) return measured;
  const weight = 1 - 2 ** (-(atMs - last.atMs) / halfLifeMs);
  const mix = (old: number, fresh: number): number => old + weight * (fresh - old);
  return {
    utilisation: mix(known.utilisation, measured.utilisation),
    activity: mix(known.activity, measured.activity),
    transactionsPerSecond: mix(known.transactionsPerSecond, measured.transactionsPerSecond),
  };
}

function windowOf(
  current: ReadonlyMap<string, ShardRates>,
  owners: ReadonlyMap<string, Owned>,
  load: LoadState,
  cores: number,
): LoadWindow {
  return [...current].map(([name, { utilisation }]) => {
    const owned = [...owners.values()].filter((bucket) => bucket.shard === name);
    const rates = owned.map((bucket) => load.rates[bucketText(bucket)] ?? 0);
    const least = (utilisation * cores) / mostCoresPerOperation;
    const total = Math.max(
      least,
      rates.reduce((sum, rate) => sum + rate, 0),
    );
    const buckets = owned.map(({ group, id }, index): BucketWindow => {
      return { group, id, share: total === 0 ? 0 : (rates[index] ?? 0) / total };
    });
    return { name, utilisation, buckets };
  });
}
