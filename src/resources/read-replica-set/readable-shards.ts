import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { wantedNames } from '../sharded-cluster/wanted-shards.ts';

/** Names of the shards that a set may be in: those that are wanted, and one that shall go until its buckets have gone. */
export function readableNames(cluster: Pick<ShardedCluster, 'spec' | 'status'>): string[] {
  const owning = (cluster.status?.shards?.items ?? []).filter(({ buckets = {} }) =>
    Object.values(buckets).some((count) => count > 0),
  );
  return [...new Set([...wantedNames(cluster), ...owning.map(({ name }) => name)])];
}
