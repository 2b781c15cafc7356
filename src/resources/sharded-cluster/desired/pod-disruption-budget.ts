import type { V1PodDisruptionBudgetSpec } from '@kubernetes/client-node';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import { memberSelector, scope } from '../names.ts';
import { ownedMetadata } from './owned-object.ts';

/** A policy/v1 PodDisruptionBudget. */
export interface PodDisruptionBudget extends KubernetesObject {
  spec: V1PodDisruptionBudgetSpec;
}

/** Lets a drain take one member of the shard at a time. */
export function podDisruptionBudget(cluster: ShardedCluster, shard: string): PodDisruptionBudget {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: ownedMetadata(cluster, shard, scope(cluster.metadata.name, shard)),
    spec: {
      maxUnavailable: 1,
      selector: { matchLabels: memberSelector(cluster.metadata.name, shard) },
    },
  };
}
