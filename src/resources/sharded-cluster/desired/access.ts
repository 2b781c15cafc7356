import type { RbacV1Subject, V1PolicyRule, V1RoleRef } from '@kubernetes/client-node';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import { maxMembers, type PatroniState, patroniState, podName, scope } from '../names.ts';
import { ownedMetadata } from './owned-object.ts';

/** A core/v1 ServiceAccount. */
export interface ServiceAccount extends KubernetesObject {
  automountServiceAccountToken: boolean;
}

/** A rbac.authorization.k8s.io/v1 Role. */
export interface Role extends KubernetesObject {
  rules: V1PolicyRule[];
}

/** A rbac.authorization.k8s.io/v1 RoleBinding. */
export interface RoleBinding extends KubernetesObject {
  roleRef: V1RoleRef;
  subjects: RbacV1Subject[];
}

const rbac = 'rbac.authorization.k8s.io';
const states: readonly PatroniState[] = ['config', 'failover', 'leader', 'sync'];

/** Identity of a shard's members; only their pods ask for its token. */
export function serviceAccount(cluster: ShardedCluster, shard: string): ServiceAccount {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: ownedMetadata(cluster, shard, scope(cluster.metadata.name, shard)),
    automountServiceAccountToken: false,
  };
}

/**
 * What Patroni does with Kubernetes: it keeps its state in ConfigMaps of given names (who answers in failsafe mode is with the
 * leader), and its role in the labels of its own pod. Creating, listing and watching cannot be limited to names.
 */
export function role(cluster: ShardedCluster, shard: string): Role {
  const name = cluster.metadata.name;
  return {
    apiVersion: `${rbac}/v1`,
    kind: 'Role',
    metadata: ownedMetadata(cluster, shard, scope(name, shard)),
    rules: [
      { apiGroups: [''], resources: ['configmaps'], verbs: ['create', 'list', 'watch'] },
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: states.map((state) => patroniState(name, shard, state)),
        verbs: ['get', 'patch'],
      },
      { apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch'] },
      {
        apiGroups: [''],
        resources: ['pods'],
        resourceNames: Array.from({ length: maxMembers }, (_, ordinal) => podName(name, shard, ordinal)),
        verbs: ['patch'],
      },
    ],
  };
}

/** Gives the role to the members. */
export function roleBinding(cluster: ShardedCluster, shard: string): RoleBinding {
  const name = scope(cluster.metadata.name, shard);
  return {
    apiVersion: `${rbac}/v1`,
    kind: 'RoleBinding',
    metadata: ownedMetadata(cluster, shard, name),
    roleRef: { apiGroup: rbac, kind: 'Role', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace: cluster.metadata.namespace }],
  };
}
