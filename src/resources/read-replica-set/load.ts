import type { ReplicaStats } from '../../postgres/replica-stats.ts';
import type { MetricType } from './autoscale.ts';

/** What one member did within a window. */
interface MemberLoad {
  samples: number;
  connections: number;
  active: number;
  /** The most; `undefined` until it was known once. */
  lagSeconds: number | undefined;
  readonly first: { readonly stats: ReplicaStats; readonly atMs: number };
  last: { readonly stats: ReplicaStats; readonly atMs: number };
}

/** Load of the members in rotation, by shard and member, since the window began. */
export type LoadWindow = Map<string, Map<string, MemberLoad>>;

/** Adds what a member says of itself. */
export function addSample(
  window: LoadWindow,
  shard: string,
  member: string,
  sample: {
    readonly stats: ReplicaStats;
    /** `undefined` while it is not known. */
    readonly lagSeconds: number | undefined;
    readonly atMs: number;
  },
): void {
  const { stats, lagSeconds, atMs } = sample;
  const ofShard = window.get(shard) ?? new Map<string, MemberLoad>();
  window.set(shard, ofShard);
  const known = ofShard.get(member);
  // Counters that went back are those of a server that was started anew.
  if (known === undefined || stats.transactions < known.last.stats.transactions) {
    const now = { stats, atMs };
    const { connections, active } = stats;
    ofShard.set(member, { samples: 1, connections, active, lagSeconds, first: now, last: now });
    return;
  }
  known.samples += 1;
  known.connections += stats.connections;
  known.active += stats.active;
  if (lagSeconds !== undefined) known.lagSeconds = Math.max(known.lagSeconds ?? 0, lagSeconds);
  known.last = { stats, atMs };
}

/** Percent of its CPU that each member uses, by name; a text says why none is known. */
export type CpuUse = ReadonlyMap<string, number> | string;

/** A shard, and the members to which its Service leads. */
export interface LoadedShard {
  readonly name: string;
  readonly inRotation: readonly string[];
}

/**
 * The average over the members of each shard, and of these the highest: the busiest shard needs its members. One that clients are
 * led to and that does not answer may be the busiest of all, so that nothing is known without it.
 */
export function measure(
  window: LoadWindow,
  shards: readonly LoadedShard[],
  types: readonly MetricType[],
  cpu: CpuUse,
): Map<MetricType, number | string> {
  return new Map(types.map((type) => [type, measureOne(window, shards, type, cpu)]));
}

function measureOne(
  window: LoadWindow,
  shards: readonly LoadedShard[],
  type: MetricType,
  cpu: CpuUse,
): number | string {
  const averages: number[] = [];
  for (const { name: shard, inRotation } of shards) {
    const loads = window.get(shard) ?? new Map<string, MemberLoad>();
    const members = [...loads];
    if (members.length === 0) return `no member of shard ${shard} in rotation answers`;
    const silent = inRotation.find((name) => !loads.has(name));
    if (silent !== undefined) return `member ${silent} is in rotation, and does not answer`;
    const values = members.map(([name, load]) => loadOf(type, name, load, cpu));
    const missing = values.find((value) => typeof value === 'string');
    if (missing !== undefined) return missing;
    averages.push(values.reduce<number>((sum, value) => sum + Number(value), 0) / values.length);
  }
  return averages.length === 0 ? 'the set has no shard' : Math.max(...averages);
}

function loadOf(type: MetricType, name: string, load: MemberLoad, cpu: CpuUse): number | string {
  const seconds = (load.last.atMs - load.first.atMs) / 1_000;
  const transactions = load.last.stats.transactions - load.first.stats.transactions;
  switch (type) {
    case 'Connections':
      return load.connections / load.samples;
    case 'ActiveSessions':
      return load.active / load.samples;
    case 'Lag':
      return load.lagSeconds ?? `the lag of member ${name} is not known`;
    case 'CPU':
      return typeof cpu === 'string'
        ? cpu
        : (cpu.get(name) ?? `metrics.k8s.io does not know pod ${name} yet`);
    case 'QPS':
      return seconds <= 0 ? `member ${name} has not been watched long enough` : transactions / seconds;
    case 'Latency':
      if (seconds <= 0) return `member ${name} has not been watched long enough`;
      if (transactions > 0) return (load.last.stats.activeMs - load.first.stats.activeMs) / transactions;
      // Of transactions that do not end nobody knows how long they take.
      return load.active === 0 ? 0 : `no transaction of member ${name} has ended`;
  }
}
