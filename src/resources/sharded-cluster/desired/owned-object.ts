import { controllerReference, type ObjectMeta } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import { clusterLabels, shardLabels } from '../names.ts';

/** Metadata of an object of a shard that goes when the ShardedCluster goes. */
export function ownedMetadata(cluster: ShardedCluster, shard: string, name: string): ObjectMeta {
  return {
    name,
    namespace: cluster.metadata.namespace,
    labels: shardLabels(cluster.metadata.name, shard),
    ownerReferences: [controllerReference(cluster)],
  };
}

/** Metadata of an object that outlives the ShardedCluster, as data, secrets and the map do. */
export function keptMetadata(cluster: ShardedCluster, name: string, shard?: string): ObjectMeta {
  return {
    name,
    namespace: cluster.metadata.namespace,
    labels:
      shard === undefined ? clusterLabels(cluster.metadata.name) : shardLabels(cluster.metadata.name, shard),
  };
}
