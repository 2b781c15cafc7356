import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import { layoutOf } from '../../../sharding/layout.ts';
import { ownerCounts } from '../../../sharding/map.ts';
import {
  type Action,
  type Observed,
  type ObservedShard,
  type PlanInput,
  proceed,
  type ShardedCluster,
  type StepResult,
} from '../model.ts';
import { wait } from './result.ts';
import { catalogOf, contentShards, factsOf } from './shards.ts';

/** What the roles are read from. */
interface ReferenceInput {
  readonly cluster: ShardedCluster;
  readonly observed: Pick<Observed, 'map' | 'shards'>;
}

/** Who gives the rows of reference tables, and who gets them. */
interface ReferenceRoles {
  readonly source: ObservedShard | undefined;
  readonly joiners: readonly ObservedShard[];
}

/**
 * A shard that joined later gets the rows of reference tables before it may own a bucket. It is known by owning none, so
 * that nothing is copied into a table that the user is just loading everywhere.
 */
export function referenceTables(input: PlanInput): StepResult {
  const { cluster, observed } = input;
  const references = layoutOf(cluster.spec.tables).references;
  const fresh = freshCopies(input, references);
  if (fresh.length > 0) {
    const message = 'tables with rows become reference tables, and go to the other shards';
    return wait('CopyingReferences', message, 0, fresh);
  }
  const { source, joiners } = referenceRoles(input, references);
  const rowsOfSource = source === undefined ? undefined : factsOf(source)?.tablesWithRows;
  if (source === undefined || rowsOfSource === undefined) return proceed;
  const actions: Action[] = [];
  for (const shard of joiners) {
    const rows = factsOf(shard)?.tablesWithRows ?? rowsOfSource;
    // A shard that comes back on its old volume has the rows of the time at which it left.
    const isStale = observed.references?.get(shard.name) === 'stale';
    const tables = references.filter(
      (table) => isStale || (rowsOfSource.includes(table) && !rows.includes(table)),
    );
    if (tables.length > 0)
      actions.push({ kind: 'copy-references', tables, from: source.name, to: shard.name, replace: isStale });
  }
  if (actions.length > 0) return wait('CopyingReferences', 'reference tables go to a new shard', 0, actions);
  const isComparing = joiners.some(({ name }) => observed.references?.get(name) === 'comparing');
  return isComparing
    ? wait('ComparingReferences', 'reference tables of a new shard are compared', 1_000)
    : proceed;
}

/**
 * A table that was never a reference table before, and has rows on one shard, goes from there to those that have none. Writers
 * of it wait meanwhile.
 */
function freshCopies(input: ReferenceInput, references: readonly string[]): Action[] {
  const shards = contentShards(input);
  if (shards.some((shard) => catalogOf(shard) === undefined)) return [];
  const known = new Set(
    shards.flatMap((shard) => (catalogOf(shard)?.distribution ?? []).map((row) => row.table_name)),
  );
  const copies = new Map<string, { readonly from: string; readonly to: string; readonly tables: string[] }>();
  for (const table of references.filter((name) => !known.has(name))) {
    const [source, ...others] = shards.filter((shard) => factsOf(shard)?.tablesWithRows.includes(table));
    if (source === undefined || others.length > 0) continue;
    for (const { name: to } of shards.filter((shard) => shard !== source)) {
      const copy = copies.get(`${source.name} ${to}`) ?? { from: source.name, to, tables: [] };
      copy.tables.push(table);
      copies.set(`${source.name} ${to}`, copy);
    }
  }
  return [...copies.values()].map((copy) => ({
    kind: 'copy-references',
    ...copy,
    replace: false,
    isFirst: true,
  }));
}

/**
 * The first owner of a bucket gives, and who owns none gets. While nobody owns any, as in a cluster of reference tables only,
 * a shard is known to have joined by being younger than the map, and the first one with rows gives.
 */
export function referenceRoles(
  { cluster, observed }: ReferenceInput,
  references: readonly string[],
): ReferenceRoles {
  const { map } = observed;
  const shards = contentShards({ cluster, observed });
  if (map.state !== 'present') return { source: undefined, joiners: [] };
  const counts = ownerCounts(map.value.spec);
  const isOwner = (shard: ObservedShard): boolean =>
    Object.values(counts.get(shard.name) ?? {}).some((count) => count > 0);
  const owner = shards.find(isOwner);
  if (owner !== undefined) return { source: owner, joiners: shards.filter((shard) => !isOwner(shard)) };
  const madeMs = createdMs(map.value);
  const isYounger = ({ statefulSet }: ObservedShard): boolean =>
    statefulSet !== undefined && createdMs(statefulSet) > madeMs;
  const hasRows = (shard: ObservedShard): boolean =>
    references.some((table) => factsOf(shard)?.tablesWithRows.includes(table));
  return {
    source: shards.find((shard) => !isYounger(shard) && hasRows(shard)),
    joiners: shards.filter(isYounger),
  };
}

function createdMs({ metadata }: KubernetesObject): number {
  return Date.parse(metadata.creationTimestamp ?? '');
}
