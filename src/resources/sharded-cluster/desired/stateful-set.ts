import type { V1StatefulSetSpec } from '@kubernetes/client-node';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import {
  headlessService,
  memberLabels,
  memberSelector,
  patroniConfigMap,
  scope,
  shardTlsSecret,
} from '../names.ts';
import { memberClaim, memberPodSpec } from './member-pod.ts';
import { ownedMetadata } from './owned-object.ts';

/** An apps/v1 StatefulSet. */
export interface StatefulSet extends KubernetesObject {
  spec: V1StatefulSetSpec;
}

/** What is not in the ShardedCluster's own spec. */
export interface StatefulSetOptions {
  /** Image of the members. */
  readonly image: string;
  /** Number of members; default `spec.members`. Members are added and removed in an order that the plan decides. */
  readonly members?: number;
}

/** The members of a shard. The operator restarts them itself (OnDelete), and no volume goes with a member. */
export function statefulSet(
  cluster: ShardedCluster,
  shard: string,
  options: StatefulSetOptions,
): StatefulSet {
  const name = cluster.metadata.name;
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: ownedMetadata(cluster, shard, scope(name, shard)),
    spec: {
      serviceName: headlessService(name, shard),
      replicas: options.members ?? cluster.spec.members,
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'OnDelete' },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
      revisionHistoryLimit: 3,
      selector: { matchLabels: memberSelector(name, shard) },
      template: {
        metadata: { labels: memberLabels(name, shard) },
        spec: memberPodSpec({
          serviceAccount: scope(name, shard),
          selector: memberSelector(name, shard),
          image: options.image,
          imagePullSecrets: cluster.spec.imagePullSecrets,
          configMap: patroniConfigMap(name, shard),
          tlsSecret: shardTlsSecret(name, shard),
          resources: cluster.spec.resources,
          placement: cluster.spec.placement,
        }),
      },
      volumeClaimTemplates: [memberClaim(memberLabels(name, shard), cluster.spec.storage)],
    },
  };
}
