import { group, version } from '../../api/v1alpha1/common.ts';
import { apiVersionOf, type KubernetesObject, type ResourceType } from '../../runtime/kubernetes-object.ts';
import {
  configMapType,
  persistentVolumeClaimType,
  podDisruptionBudgetType,
  podType,
  roleBindingType,
  roleType,
  secretType,
  serviceAccountType,
  serviceType,
  statefulSetType,
} from '../../runtime/kubernetes-types.ts';

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

/** herdsman.dev ReadReplicaSet. */
export const readReplicaSetType: ResourceType = {
  group,
  version,
  plural: 'readreplicasets',
  kind: 'ReadReplicaSet',
  namespaced: true,
};

/** herdsman.dev ShardMove. */
export const shardMoveType: ResourceType = {
  group,
  version,
  plural: 'shardmoves',
  kind: 'ShardMove',
  namespaced: true,
};

const types: ReadonlyMap<string, ResourceType> = new Map(
  [
    configMapType,
    persistentVolumeClaimType,
    podDisruptionBudgetType,
    podType,
    roleBindingType,
    roleType,
    secretType,
    serviceAccountType,
    serviceType,
    shardMapType,
    shardedClusterType,
    statefulSetType,
  ].map((type) => [`${apiVersionOf(type)}/${type.kind}`, type]),
);

/** How to address the kinds of objects that the controller writes. */
export function resourceTypeOf(object: KubernetesObject): ResourceType {
  const type = types.get(`${object.apiVersion}/${object.kind}`);
  if (type === undefined)
    throw new TypeError(`${object.apiVersion} ${object.kind} is not a kind that this controller writes`);
  return type;
}
