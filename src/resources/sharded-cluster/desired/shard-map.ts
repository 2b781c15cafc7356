import { apiVersion } from '../../../api/v1alpha1/common.ts';
import type { ShardMapSpec } from '../../../api/v1alpha1/shard-map.ts';
import type { ShardedCluster, ShardMapObject } from '../model.ts';
import { shardMapName } from '../names.ts';
import { keptMetadata } from './owned-object.ts';

/** The ShardMap of a cluster; it outlives the ShardedCluster, as the data does. */
export function shardMapObject(cluster: ShardedCluster, spec: ShardMapSpec): ShardMapObject {
  const metadata = keptMetadata(cluster, shardMapName(cluster.metadata.name));
  return { apiVersion, kind: 'ShardMap', metadata, spec };
}
