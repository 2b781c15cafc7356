import { maxReplicas } from '../../../api/v1alpha1/read-replica-set.ts';
import type { Role, RoleBinding, ServiceAccount } from '../../sharded-cluster/desired/access.ts';
import type { ReadReplicaSet } from '../model.ts';
import { replicaPod, replicasName } from '../names.ts';
import { ownedMetadata } from './owned-object.ts';

const rbac = 'rbac.authorization.k8s.io';

/** Identity of the members of a set in a shard; only their pods ask for its token. */
export function serviceAccount(set: ReadReplicaSet, shard: string): ServiceAccount {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: ownedMetadata(set, shard, replicasName(set.metadata.name, shard)),
    automountServiceAccountToken: false,
  };
}

/** Members read the state of their shard, and cannot write it: the leader's lock is out of their reach. */
export function role(set: ReadReplicaSet, shard: string): Role {
  const { name } = set.metadata;
  return {
    apiVersion: `${rbac}/v1`,
    kind: 'Role',
    metadata: ownedMetadata(set, shard, replicasName(name, shard)),
    rules: [
      { apiGroups: [''], resources: ['configmaps'], verbs: ['list', 'watch'] },
      { apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch'] },
      {
        apiGroups: [''],
        resources: ['pods'],
        resourceNames: Array.from({ length: maxReplicas }, (_, ordinal) => replicaPod(name, shard, ordinal)),
        verbs: ['patch'],
      },
    ],
  };
}

/** Gives the role to the members. */
export function roleBinding(set: ReadReplicaSet, shard: string): RoleBinding {
  const name = replicasName(set.metadata.name, shard);
  return {
    apiVersion: `${rbac}/v1`,
    kind: 'RoleBinding',
    metadata: ownedMetadata(set, shard, name),
    roleRef: { apiGroup: rbac, kind: 'Role', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace: set.metadata.namespace }],
  };
}
