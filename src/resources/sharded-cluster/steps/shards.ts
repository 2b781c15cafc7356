import type { Shard } from '../../../sharding/layout.ts';
import type { ShardCatalog } from '../../../sharding/shard-catalog.ts';
import type { DatabaseFacts } from '../database-facts.ts';
import type { ObservedShard, ShardedCluster } from '../model.ts';
import { shardName } from '../names.ts';

/** Shards that are wanted, with their home zones. */
export function wantedShards({ spec }: Pick<ShardedCluster, 'spec'>): Shard[] {
  const { count, zones } = spec.shards;
  return Array.from({ length: count }, (_, index) => {
    const zone = zones.length === 0 ? undefined : zones[index % zones.length];
    return { name: shardName(index), zone };
  });
}

/** The catalog of a shard's application database, if its primary answered. */
export function catalogOf(shard: ObservedShard): ShardCatalog | undefined {
  return factsOf(shard)?.catalog;
}

/** What a shard's primary said, if it did. */
export function factsOf(shard: ObservedShard): DatabaseFacts | undefined {
  return shard.database.state === 'present' ? shard.database.value : undefined;
}
