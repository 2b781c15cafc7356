import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import type { ReadReplicaSet } from '../model.ts';
import { role, roleBinding, serviceAccount } from './access.ts';
import { type ReplicaConfigOptions, replicaConfig } from './patroni-config.ts';
import { headlessService, readService } from './services.ts';
import {
  type ReplicaStatefulSetOptions,
  replicaDisruptionBudget,
  replicaStatefulSet,
} from './stateful-set.ts';

/** What the objects of a set in a shard depend on beside both specs. */
export interface DesiredOptions extends ReplicaConfigOptions, ReplicaStatefulSetOptions {
  /** Whether the primary stands in for the members. */
  readonly byPrimary: boolean;
}

/** The objects of a set in a shard, in order of creation. */
export function desiredObjects(
  set: ReadReplicaSet,
  cluster: ShardedCluster,
  shard: string,
  options: DesiredOptions,
): KubernetesObject[] {
  return [
    serviceAccount(set, shard),
    role(set, shard),
    roleBinding(set, shard),
    replicaConfig(set, cluster, shard, options).configMap,
    headlessService(set, shard),
    readService(set, shard, options.byPrimary),
    replicaDisruptionBudget(set, shard),
    replicaStatefulSet(set, cluster, shard, options),
  ];
}
