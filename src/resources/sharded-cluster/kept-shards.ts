import type { ShardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import { zoneOf } from './wanted-shards.ts';

/** What says which shards may not go. */
export type KeptBy = Pick<ShardedClusterSpec, 'tables' | 'shards'>;

/**
 * Of these shards, those that never go, each with why: the first, which plain tables, imports and the plain name of poolers'
 * databases rely on; those that the tables name; and the last in a zone that a region is pinned to.
 */
export function keptShards(spec: KeptBy, names: readonly string[]): ReadonlyMap<string, string> {
  const kept = new Map([['s0', 'it has the plain tables']]);
  const named = new Set(namedShards(spec));
  const zones = neededZones(spec);
  const isLastIn = (zone: string) => names.filter((name) => zoneOf(spec.shards, name) === zone).length === 1;
  for (const name of names) {
    const zone = zoneOf(spec.shards, name);
    if (kept.has(name)) continue;
    if (named.has(name)) kept.set(name, 'spec.tables names it');
    else if (zone !== undefined && zones.has(zone) && isLastIn(zone))
      kept.set(name, `it is the last in ${zone}`);
  }
  return kept;
}

/** How few of these shards may be left. */
export function fewestShards(spec: KeptBy, names: readonly string[]): number {
  const kept = keptShards(spec, names);
  const free = names.find((name) => !kept.has(name));
  if (free === undefined) return names.length;
  return fewestShards(
    spec,
    names.filter((name) => name !== free),
  );
}

/** Of the candidates, those that the tables need beside these shards: each that is named, and one in each zone that is missing. */
export function neededShards(
  spec: KeptBy,
  names: readonly string[],
  candidates: readonly string[],
): readonly string[] {
  const needed = namedShards(spec);
  for (const zone of neededZones(spec)) {
    const isThere = (name: string) => zoneOf(spec.shards, name) === zone;
    if (![...names, ...needed].some(isThere)) needed.push(...candidates.filter(isThere).slice(0, 1));
  }
  return needed;
}

/** Zones that regions are pinned to. */
function neededZones({ tables }: Pick<KeptBy, 'tables'>): ReadonlySet<string> {
  return new Set(tables.flatMap(({ regions = [] }) => regions.flatMap((region) => region.zones ?? [])));
}

/** Shards that the tables name. */
function namedShards({ tables }: Pick<KeptBy, 'tables'>): string[] {
  return tables.flatMap(({ bounds = [], tenants = [], regions = [] }) => [
    ...[...bounds, ...tenants].flatMap(({ shard }) => shard ?? []),
    ...regions.flatMap(({ shards = [] }) => shards),
  ]);
}
