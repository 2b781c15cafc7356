import type { Bound, Bucket, BucketGroup, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import { isReshaped, nextBucketId } from './bucket-ids.ts';
import { type Cover, coverOf } from './cover.ts';
import type { Group, Layout, Shard } from './layout.ts';
import { markerName } from './names.ts';
import type { Problem } from './problem.ts';

/** A bucket with the group that it belongs to. */
export interface GroupBucket {
  readonly group: BucketGroup;
  readonly bucket: Bucket;
}

/** A bucket of a layout before it has an owner: its bound, and the shards that may own it (none: all). */
export interface Slot {
  readonly bound: Bound;
  readonly allowed?: readonly string[];
}

/** The first map of a cluster: every bucket has an owner, spread evenly, pins respected. */
export function initialMap(cluster: string, layout: Layout, shards: readonly Shard[]): ShardMapSpec {
  const dealt = layout.groups.map((group) => groupSlots(group, shards));
  const totals = new Map<string, number>();
  return {
    cluster,
    epoch: 1,
    groups: layout.groups.map((group, index) => ({
      name: group.name,
      strategy: group.strategy,
      buckets: deal(dealt[index] ?? [], 0, 1, [], shards, totals),
    })),
  };
}

/** Who has the marker of a bucket. */
export interface MarkerOwner {
  readonly shard: string;
  readonly epoch: number;
}

/** A group whose buckets all have a marker. */
function markedGroup(group: Group, markers: ReadonlyMap<string, MarkerOwner>): BucketGroup | undefined {
  const slots = groupSlots(group, []);
  const buckets = slots.flatMap(({ bound }, id): Bucket[] => {
    const owner = markers.get(markerName(group.name, id));
    return owner === undefined ? [] : [{ id, ...owner, ...bound }];
  });
  if (buckets.length < slots.length || slots.length === 0) return undefined;
  return { name: group.name, strategy: group.strategy, buckets };
}

/** All buckets of a group on the shard where the rows are, whatever their pins say: they are moved from there. */
export function gatheredGroup(group: Group, shard: string, epoch: number): BucketGroup {
  const buckets = groupSlots(group, []).map(({ bound }, id): Bucket => ({ id, shard, epoch, ...bound }));
  return { name: group.name, strategy: group.strategy, buckets };
}

/** The map with what the layout gained, and what of the layout cannot be had by adding. */
export interface Reconciled {
  /** The very object that was given when nothing changed. */
  readonly map: ShardMapSpec;
  readonly changed: boolean;
  readonly problems: readonly Problem[];
}

/**
 * Adds buckets for groups, regions and ranges that the layout gained, and raises the epoch by one if it added any. It never
 * changes an owner or a bound: what would need that (another number of buckets, a changed range, a tenant that may have rows
 * among the others) is a problem. A group that is new to the map, and has markers already, is owned by who has them.
 */
export function reconcileMap(
  map: ShardMapSpec,
  layout: Layout,
  shards: readonly Shard[],
  markers: ReadonlyMap<string, MarkerOwner> = new Map(),
): Reconciled {
  const problems: Problem[] = [];
  const marked = layout.groups
    .filter((group) => !map.groups.some((known) => known.name === group.name))
    .flatMap((group) => markedGroup(group, markers) ?? []);
  const newest = marked.flatMap((group) => group.buckets.map((bucket) => bucket.epoch));
  const epoch = Math.max(map.epoch + 1, ...newest);
  const totals = new Map<string, number>();
  for (const group of map.groups) for (const bucket of group.buckets) count(totals, bucket.shard);
  const kept = map.groups.map((group): BucketGroup => {
    const wanted = layout.groups.find((candidate) => candidate.name === group.name);
    if (wanted === undefined) {
      problems.push(removedGroup(group));
      return group;
    }
    const { added, found } = compareGroup(group, wanted, shards);
    problems.push(...found);
    if (found.length > 0 || added.length === 0) return group;
    return {
      ...group,
      buckets: [...group.buckets, ...deal(added, nextBucketId(group), epoch, group.buckets, shards, totals)],
    };
  });
  const fresh = layout.groups
    .filter((group) => !map.groups.some((known) => known.name === group.name))
    .map((group): BucketGroup => {
      const found = marked.find(({ name }) => name === group.name);
      if (found !== undefined) return found;
      const buckets = deal(groupSlots(group, shards), 0, epoch, [], shards, totals);
      return { name: group.name, strategy: group.strategy, buckets };
    });
  const changed = fresh.length > 0 || kept.some((group, index) => group !== map.groups[index]);
  if (!changed) return { map, changed, problems };
  return { map: { ...map, epoch, groups: [...kept, ...fresh] }, changed, problems };
}

function removedGroup(group: BucketGroup): Problem {
  return {
    code: 'group-removed',
    message:
      `group "${group.name}" is no longer in spec.tables, and its buckets still hold data: put its tables back ` +
      '(its leaves stay as they are until then)',
  };
}

function compareGroup(
  known: BucketGroup,
  wanted: Group,
  shards: readonly Shard[],
): { added: readonly Slot[]; found: readonly Problem[] } {
  const found: Problem[] = [];
  const add = (code: string, message: string) =>
    found.push({ code, message: `group "${known.name}": ${message}` });
  if (known.strategy !== wanted.strategy) {
    add(
      'strategy-changed',
      `the strategy is ${known.strategy} and cannot become ${wanted.strategy}: write it back`,
    );
    return { added: [], found };
  }
  const slots = groupSlots(wanted, shards);
  const reshaped = isReshaped(known);
  const hashed = known.buckets.filter(
    (bucket) => bucket.region === undefined && bucket.hash !== undefined,
  ).length;
  if (!reshaped && hashed > 0 && hashed !== wanted.buckets) {
    add(
      'buckets-changed',
      `it has ${hashed} buckets and cannot have ${wanted.buckets}: write "buckets: ${hashed}" (a bucket can be split later)`,
    );
    return { added: [], found };
  }
  const { missing: added, extra } = reshaped
    ? coverOf(slots, known.buckets)
    : difference(slots, known.buckets);
  for (const bucket of extra) {
    add('bound-changed', `the bucket ${describe(bucket)} is no longer in spec.tables: write it back`);
  }
  const hasDefault = known.buckets.some((bucket) => bucket.isDefault === true);
  for (const slot of hasDefault && found.length === 0 ? added : []) {
    add(
      'behind-default',
      `the DEFAULT partition may already hold rows of ${describe(slot.bound)}: take it out again until it can be lifted ` +
        'by a ShardMove, or put it into a group of its own',
    );
  }
  return { added, found };
}

/** Whether the buckets of a group take all keys of its layout, each of them once. */
export function isComplete(known: BucketGroup, wanted: Group): boolean {
  const { missing, extra } = (isReshaped(known) ? coverOf : difference)(
    groupSlots(wanted, []),
    known.buckets,
  );
  const bounds = new Set(known.buckets.map(boundKey));
  return missing.length === 0 && extra.length === 0 && bounds.size === known.buckets.length;
}

/** Groups some of whose keys have no bucket yet. */
export function groupsWithoutBuckets({ groups }: Layout, map: ShardMapSpec | undefined): Group[] {
  return groups.filter((group) => {
    const known = map?.groups.find(({ name }) => name === group.name);
    return known === undefined || !isComplete(known, group);
  });
}

/** What a group that is as it was laid out lacks, and has too much. */
function difference(slots: readonly Slot[], buckets: readonly Bucket[]): Cover<Slot> {
  const known = new Set(buckets.map((bucket) => boundKey(bucket)));
  const wanted = new Set(slots.map((slot) => boundKey(slot.bound)));
  return {
    missing: slots.filter((slot) => !known.has(boundKey(slot.bound))),
    extra: buckets.filter((bucket) => !wanted.has(boundKey(bucket))),
  };
}

/** The buckets that a layout asks for, in the order of their ids, without owners. */
function groupSlots(group: Group, shards: readonly Shard[]): Slot[] {
  const pin = (shard: string | undefined) => (shard === undefined ? {} : { allowed: [shard] });
  const hashes = (modulus: number) =>
    Array.from({ length: modulus }, (_, remainder) => ({ modulus, remainder }));
  switch (group.strategy) {
    case 'hash':
      return hashes(group.buckets).map((hash) => ({ bound: { hash } }));
    case 'range': {
      const ranges = group.bounds.map((bound): Slot => {
        const range = {
          ...(bound.from === undefined ? {} : { from: bound.from }),
          ...(bound.to === undefined ? {} : { to: bound.to }),
        };
        return { bound: { range }, ...pin(bound.shard) };
      });
      return group.defaultBucket ? [...ranges, { bound: { isDefault: true } }] : ranges;
    }
    case 'geographic':
      return group.regions.flatMap((region): Slot[] => {
        const allowed = shardsOfRegion(region, shards);
        const base = { region: region.name, values: [...region.values] };
        const restriction = allowed === undefined ? {} : { allowed };
        if ((region.buckets ?? 1) === 1) return [{ bound: base, ...restriction }];
        return hashes(region.buckets ?? 1).map((hash) => ({ bound: { ...base, hash }, ...restriction }));
      });
    case 'directory':
      return [
        ...hashes(group.buckets).map((hash): Slot => ({ bound: { hash, isDefault: true } })),
        ...group.tenants.map((tenant): Slot => ({ bound: { values: [tenant.value] }, ...pin(tenant.shard) })),
      ];
  }
}

function shardsOfRegion(region: Group['regions'][number], shards: readonly Shard[]): string[] | undefined {
  if (region.shards !== undefined) return [...region.shards];
  const zones = region.zones;
  if (zones === undefined) return undefined;
  return shards
    .filter((shard) => shard.zone !== undefined && zones.includes(shard.zone))
    .map((shard) => shard.name);
}

/**
 * Gives each slot the allowed shard that has fewest buckets of the group, then fewest of all groups, then comes first; the
 * slots with least choice first. For hash buckets this is one after the other (round robin) and not in contiguous runs: hash
 * remainders gain nothing from being neighbours, and of neighbouring ranges the newest are usually the busiest, which
 * this puts on different shards.
 */
function deal(
  slots: readonly Slot[],
  firstId: number,
  epoch: number,
  present: readonly Bucket[],
  shards: readonly Shard[],
  totals: Map<string, number>,
): Bucket[] {
  const own = new Map<string, number>();
  for (const bucket of present) count(own, bucket.shard);
  const names = shards.map((shard) => shard.name);
  const order = slots
    .map((slot, index) => ({ slot, index, choices: candidates(slot, names) }))
    .sort((a, b) => a.choices.length - b.choices.length || a.index - b.index);
  const buckets = new Map<number, Bucket>();
  for (const { slot, index, choices } of order) {
    const shard = choices.reduce((best, name) => {
      const difference =
        (own.get(name) ?? 0) - (own.get(best) ?? 0) || (totals.get(name) ?? 0) - (totals.get(best) ?? 0);
      return difference < 0 ? name : best;
    });
    count(own, shard);
    count(totals, shard);
    buckets.set(index, { id: firstId + index, shard, epoch, ...slot.bound });
  }
  return [...buckets].sort(([a], [b]) => a - b).map(([, bucket]) => bucket);
}

function candidates(slot: Slot, names: readonly string[]): string[] {
  const allowed = slot.allowed;
  const choices = allowed === undefined ? [...names] : names.filter((name) => allowed.includes(name));
  if (choices.length === 0) {
    throw new Error(
      `no shard may own the bucket ${describe(slot.bound)}: check placementProblems before a map is made`,
    );
  }
  return choices;
}

function count(counts: Map<string, number>, shard: string): void {
  counts.set(shard, (counts.get(shard) ?? 0) + 1);
}

/** What makes two buckets of a group the same: the rows they take. */
export function boundKey(bucket: Bound): string {
  return JSON.stringify([
    bucket.hash === undefined ? null : [bucket.hash.modulus, bucket.hash.remainder],
    bucket.range === undefined ? null : [bucket.range.from ?? null, bucket.range.to ?? null],
    bucket.region ?? null,
    bucket.values === undefined ? null : [...bucket.values].sort(),
    bucket.isDefault ?? false,
  ]);
}

/** How a message tells of the keys that a bucket takes. */
export function describe(bucket: Bound): string {
  const hash =
    bucket.hash === undefined ? '' : ` remainder ${bucket.hash.remainder} of ${bucket.hash.modulus}`;
  if (bucket.region !== undefined)
    return `of region "${bucket.region}" (${bucket.values?.join(', ')})${hash}`;
  if (bucket.values !== undefined) return `of tenant "${bucket.values.join(', ')}"`;
  if (bucket.range !== undefined) {
    return `of range ${bucket.range.from ?? 'MINVALUE'} to ${bucket.range.to ?? 'MAXVALUE'}`;
  }
  return bucket.hash === undefined ? 'of the default' : `with${hash}`;
}

/** The buckets that a shard owns. */
export function bucketsOf(map: ShardMapSpec, shard: string): GroupBucket[] {
  return map.groups.flatMap((group) =>
    group.buckets.filter((bucket) => bucket.shard === shard).map((bucket) => ({ group, bucket })),
  );
}

/** Number of buckets owned, by shard and group; shards that own none are left out. */
export function ownerCounts(map: ShardMapSpec): ReadonlyMap<string, Readonly<Record<string, number>>> {
  const counts = new Map<string, Record<string, number>>();
  for (const group of map.groups) {
    for (const bucket of group.buckets) {
      const owned = counts.get(bucket.shard) ?? {};
      owned[group.name] = (owned[group.name] ?? 0) + 1;
      counts.set(bucket.shard, owned);
    }
  }
  return counts;
}
