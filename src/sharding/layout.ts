import type { Bound, Region, Table, Tenant } from '../api/v1alpha1/table.ts';
import { boundProblems } from './bounds.ts';
import { leafName, maxNameBytes, regionName } from './names.ts';
import type { Problem } from './problem.ts';

/** Buckets of a hash or directory group that does not say how many. */
const defaultBuckets = 64;
/** Most buckets that one group may have. */
const maxBuckets = 1024;

/** How a group spreads its rows. */
export type Strategy = 'hash' | 'range' | 'geographic' | 'directory';

/** One table of a colocation group. */
export interface GroupTable {
  readonly name: string;
  readonly key: string;
  /** Column of the HASH level below a region. */
  readonly hashKey?: string;
}

/** A colocation group: tables that share key values, bounds and placement. */
export interface Group {
  readonly name: string;
  readonly strategy: Strategy;
  readonly tables: readonly GroupTable[];
  /** Hash buckets (hash), or those of the tenants without a bucket of their own (directory); else 0. */
  readonly buckets: number;
  readonly bounds: readonly Bound[];
  readonly defaultBucket: boolean;
  readonly regions: readonly Region[];
  readonly tenants: readonly Tenant[];
}

/** What `spec.tables` says, by group, with all that is wrong with it. */
export interface Layout {
  readonly groups: readonly Group[];
  /** Tables that are whole on every shard. */
  readonly references: readonly string[];
  readonly problems: readonly Problem[];
}

/** A shard that may own buckets. */
export interface Shard {
  readonly name: string;
  readonly zone?: string | undefined;
}

/**
 * Gathers the tables of `spec.tables` into colocation groups. Each setting of a group (buckets, bounds, regions, …) is taken
 * from the table that gives it; a second table may repeat it, not change it.
 */
export function layoutOf(tables: readonly Table[]): Layout {
  const problems: Problem[] = [];
  const byGroup = new Map<string, Table[]>();
  const references: string[] = [];
  const seen = new Set<string>();
  for (const table of tables) {
    if (seen.has(table.name)) {
      problems.push({ code: 'table-twice', message: `table "${table.name}" is listed twice: leave one out` });
      continue;
    }
    seen.add(table.name);
    if (table.strategy === 'reference') {
      references.push(table.name);
      continue;
    }
    const group = table.group ?? table.name;
    byGroup.set(group, [...(byGroup.get(group) ?? []), table]);
  }
  const groups = [...byGroup].map(([name, members]) => groupOf(name, members, problems));
  for (const group of groups) problems.push(...groupProblems(group));
  problems.push(...nameProblems(groups, references));
  return { groups, references, problems };
}

function groupOf(name: string, members: readonly Table[], problems: Problem[]): Group {
  const strategies = [...new Set(members.map((table) => table.strategy))];
  if (strategies.length > 1) {
    const list = members.map((table) => `${table.name}: ${table.strategy}`).join(', ');
    problems.push({
      code: 'two-strategies',
      message: `group "${name}" has two strategies (${list}): give all its tables one, or put them into different groups`,
    });
  }
  const tables = members.map((table): GroupTable => {
    if (table.key === undefined) {
      problems.push({ code: 'no-key', message: `table "${table.name}" has no key: write "key: <column>"` });
    }
    const base = { name: table.name, key: table.key ?? '' };
    return table.hashKey === undefined ? base : { ...base, hashKey: table.hashKey };
  });
  return {
    name,
    strategy: (strategies[0] ?? 'hash') as Strategy,
    tables,
    buckets:
      strategies[0] === 'hash' || strategies[0] === 'directory'
        ? (given(name, members, 'buckets', problems) ?? defaultBuckets)
        : 0,
    bounds: given(name, members, 'bounds', problems) ?? [],
    defaultBucket: given(name, members, 'defaultBucket', problems) ?? false,
    regions: given(name, members, 'regions', problems) ?? [],
    tenants: given(name, members, 'tenants', problems) ?? [],
  };
}

/** The one value that the group's tables give for a setting; two different values are a problem. */
function given<K extends 'buckets' | 'bounds' | 'defaultBucket' | 'regions' | 'tenants'>(
  group: string,
  members: readonly Table[],
  setting: K,
  problems: Problem[],
): Table[K] {
  const giving = members.filter((table) => table[setting] !== undefined);
  const first = giving[0];
  const other = giving.find((table) => JSON.stringify(table[setting]) !== JSON.stringify(first?.[setting]));
  if (first !== undefined && other !== undefined) {
    problems.push({
      code: 'two-layouts',
      message:
        `group "${group}" has two different "${setting}" (tables "${first.name}" and "${other.name}"): ` +
        'give it in one table of the group and leave it out in the others',
    });
  }
  return first?.[setting] as Table[K];
}

function groupProblems(group: Group): Problem[] {
  const problems: Problem[] = [];
  const add = (code: string, message: string) =>
    problems.push({ code, message: `group "${group.name}": ${message}` });
  if (group.strategy === 'range') {
    if (group.bounds.length === 0) add('no-bounds', 'strategy range needs "bounds" in one of its tables');
    problems.push(...boundProblems(group.name, group.bounds, group.defaultBucket));
  }
  if (group.strategy === 'geographic') {
    if (group.regions.length === 0)
      add('no-regions', 'strategy geographic needs "regions" in one of its tables');
    for (const name of duplicates(group.regions.map((region) => region.name))) {
      add('region-twice', `region "${name}" is listed twice: join their values in one`);
    }
    for (const value of duplicates(group.regions.flatMap((region) => region.values))) {
      add('value-twice', `value "${value}" is listed twice: a key value belongs to one region, once`);
    }
    const divided = group.regions.find((region) => (region.buckets ?? 1) > 1);
    for (const table of divided === undefined ? [] : group.tables) {
      if (table.hashKey !== undefined) continue;
      add(
        'no-hash-key',
        `region "${divided?.name}" has several buckets, and table "${table.name}" has no column to spread rows over ` +
          'them by: write "hashKey: <column>" in it, or leave "buckets" of the region at 1',
      );
    }
  }
  for (const value of duplicates(group.tenants.map((tenant) => tenant.value))) {
    add('tenant-twice', `tenant "${value}" is listed twice: leave one out`);
  }
  const count = bucketCount(group);
  if (count > maxBuckets) add('too-many-buckets', `${count} buckets are over the limit of ${maxBuckets}`);
  return problems;
}

/** Number of buckets that a group has. */
function bucketCount(group: Group): number {
  if (group.strategy === 'range') return group.bounds.length + (group.defaultBucket ? 1 : 0);
  if (group.strategy === 'geographic') {
    return group.regions.reduce((sum, region) => sum + (region.buckets ?? 1), 0);
  }
  return group.buckets + group.tenants.length;
}

function nameProblems(groups: readonly Group[], references: readonly string[]): Problem[] {
  const problems: Problem[] = [];
  const tables = [...references, ...groups.flatMap((group) => group.tables.map((table) => table.name))];
  const made = new Map<string, string>();
  for (const group of groups) {
    for (const table of group.tables) {
      for (const region of group.regions) made.set(regionName(table.name, region.name), table.name);
      if (group.strategy === 'directory') made.set(`${table.name}_default`, table.name);
      for (let id = 0; id < bucketCount(group); id += 1) made.set(leafName(table.name, id), table.name);
    }
  }
  for (const table of tables) {
    const owner = made.get(table);
    if (owner === undefined) continue;
    problems.push({
      code: 'name-taken',
      message: `table "${table}" has the name of a partition of "${owner}": rename it`,
    });
  }
  for (const [name, table] of made) {
    if (Buffer.byteLength(name) <= maxNameBytes) continue;
    problems.push({
      code: 'name-too-long',
      message: `partition "${name}" is over ${maxNameBytes} bytes: shorten the name of the table "${table}" or of the region`,
    });
  }
  return problems;
}

function duplicates(values: readonly string[]): string[] {
  return [...new Set(values.filter((value, index) => values.indexOf(value) !== index))];
}

/** What is pinned to a shard or zone that is not there. */
export function placementProblems(layout: Layout, shards: readonly Shard[]): Problem[] {
  const names = new Set(shards.map((shard) => shard.name));
  const zones = new Set(shards.flatMap((shard) => (shard.zone === undefined ? [] : [shard.zone])));
  const present = [...names].join(', ');
  const problems: Problem[] = [];
  const missing = (group: Group, what: string, shard: string | undefined) => {
    if (shard === undefined || names.has(shard)) return;
    problems.push({
      code: 'no-such-shard',
      message: `group "${group.name}": ${what} is pinned to shard "${shard}", which is not there: write one of ${present}`,
    });
  };
  for (const group of layout.groups) {
    for (const bound of group.bounds) {
      missing(group, `range ${bound.from ?? 'MINVALUE'} to ${bound.to ?? 'MAXVALUE'}`, bound.shard);
    }
    for (const tenant of group.tenants) missing(group, `tenant "${tenant.value}"`, tenant.shard);
    for (const region of group.regions) {
      for (const shard of region.shards ?? []) missing(group, `region "${region.name}"`, shard);
      if (region.zones === undefined || region.zones.some((zone) => zones.has(zone))) continue;
      problems.push({
        code: 'region-without-shard',
        message:
          `group "${group.name}": no shard is in a zone of region "${region.name}" (${region.zones.join(', ')}): ` +
          'add the zone to spec.shards.zones, raise spec.shards.count, or name another zone',
      });
    }
  }
  return problems;
}
