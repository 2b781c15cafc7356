import type { Shard } from '../../../sharding/layout.ts';
import { ownerCounts } from '../../../sharding/map.ts';
import type { ShardCatalog } from '../../../sharding/shard-catalog.ts';
import type { DatabaseFacts } from '../database-facts.ts';
import type { Observed, ObservedShard, ShardedCluster } from '../model.ts';
import { wantedNames, zoneOf } from '../wanted-shards.ts';

/** Shards that are wanted, with their home zones. */
export function wantedShards(cluster: Pick<ShardedCluster, 'spec' | 'status'>): Shard[] {
  return wantedNames(cluster).map((name) => ({ name, zone: zoneOf(cluster.spec.shards, name) }));
}

/**
 * Shards whose content counts: those that are wanted or own buckets. One that shall go and owns nothing need not be up
 * for the others to have their schema; while the map is not known it may own something.
 */
export function contentShards({
  cluster,
  observed: { shards, map },
}: {
  readonly cluster: ShardedCluster;
  readonly observed: Pick<Observed, 'map' | 'shards'>;
}): readonly ObservedShard[] {
  if (map.state !== 'present') return shards;
  const counts = ownerCounts(map.value.spec);
  const isOwner = ({ name }: ObservedShard) =>
    Object.values(counts.get(name) ?? {}).some((count) => count > 0);
  const wanted = wantedNames(cluster);
  return shards.filter((shard) => wanted.includes(shard.name) || isOwner(shard));
}

/** The catalog of a shard's application database, if its primary answered. */
export function catalogOf(shard: ObservedShard): ShardCatalog | undefined {
  return factsOf(shard)?.catalog;
}

/** What a shard's primary said, if it did. */
export function factsOf(shard: ObservedShard): DatabaseFacts | undefined {
  return shard.database.state === 'present' ? shard.database.value : undefined;
}
