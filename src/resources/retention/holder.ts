import type { Informer } from '../../runtime/informer.ts';
import type { KubernetesObject, ObjectKey } from '../../runtime/kubernetes-object.ts';
import type { ReadReplicaSet } from '../read-replica-set/model.ts';
import { replicasName } from '../read-replica-set/names.ts';
import { bySet, type ReplicaSources } from '../read-replica-set/sources.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { clusterLabel, replicaSetLabel, scope, shardLabel } from '../sharded-cluster/names.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { type MemberTraces, replicaUsage, type Usage, usageOf } from './usage.ts';

/** An object whose members have volumes, as its user wrote it. */
export interface VolumeOwner extends KubernetesObject {
  readonly spec: { readonly deletionPolicy?: 'keep' | 'delete'; readonly holdPeriod?: string };
}

/** Clusters that decide, too, which members there are of the objects that follow them. */
export interface FollowedClusters<T extends VolumeOwner> {
  readonly clusters: Informer<ShardedCluster>;
  clusterOf(owner: T): ObjectKey;
  ownersIn(cluster: ShardedCluster): readonly T[];
}

/** A kind whose objects have members with volumes, and what is there of them. */
export interface VolumeHolder<T extends VolumeOwner> {
  /** Name of the controller of these volumes. */
  readonly name: string;
  readonly owners: Informer<T>;
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly statefulSets: Informer<StatefulSet>;
  readonly pods: Informer<Pod>;
  /** `undefined`: its objects follow none. */
  readonly followed: FollowedClusters<T> | undefined;
  /** Label of claims and StatefulSets with their owner's name. */
  readonly ownerLabel: string;
  /** Index of the claims by owner. */
  readonly index: string;
  /** Name of the StatefulSet that a claim's member belongs to. */
  statefulSetOf(claim: PersistentVolumeClaim): string | undefined;
  /** Whether a member uses a claim. */
  usageOf(claim: PersistentVolumeClaim, traces: MemberTraces<T>): Usage;
}

/** The volumes of ShardedClusters. */
export function clusterVolumes({
  clusters,
  claims,
  statefulSets,
  pods,
}: Sources): VolumeHolder<ShardedCluster> {
  return {
    name: 'retention',
    owners: clusters,
    claims,
    statefulSets,
    pods,
    followed: undefined,
    ownerLabel: clusterLabel,
    index: byCluster,
    statefulSetOf({ metadata: { labels = {} } }) {
      const { [clusterLabel]: cluster, [shardLabel]: shard } = labels;
      return cluster === undefined || shard === undefined ? undefined : scope(cluster, shard);
    },
    usageOf,
  };
}

/** The volumes of ReadReplicaSets. */
export function replicaVolumes(
  { replicaSets, clusters }: Pick<Sources, 'replicaSets' | 'clusters'>,
  { claims, statefulSets, pods }: ReplicaSources,
): VolumeHolder<ReadReplicaSet> {
  return {
    name: 'replicaretention',
    owners: replicaSets,
    claims,
    statefulSets,
    pods,
    followed: {
      clusters,
      clusterOf: ({ metadata, spec }) => ({ namespace: metadata.namespace, name: spec.cluster }),
      ownersIn: ({ metadata }) =>
        replicaSets.cache.byIndex(byCluster, clusterIndexValue(metadata.namespace, metadata.name)),
    },
    ownerLabel: replicaSetLabel,
    index: bySet,
    statefulSetOf({ metadata: { labels = {} } }) {
      const { [replicaSetLabel]: set, [shardLabel]: shard } = labels;
      return set === undefined || shard === undefined ? undefined : replicasName(set, shard);
    },
    usageOf: replicaUsage,
  };
}
