import { group, version } from '../../api/v1alpha1/common.ts';
import type { ResourceType } from '../../runtime/kubernetes-object.ts';

/** herdsman.dev ShardedCluster. */
export const shardedClusterType: ResourceType = {
  group,
  version,
  plural: 'shardedclusters',
  kind: 'ShardedCluster',
  namespaced: true,
};

/** herdsman.dev ShardMap. */
export const shardMapType: ResourceType = {
  group,
  version,
  plural: 'shardmaps',
  kind: 'ShardMap',
  namespaced: true,
};
