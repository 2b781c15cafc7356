import { desiredShards } from '../sharded-cluster/desired-shards.ts';
import type { PersistentVolumeClaim, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { clusterLabel, podOrdinal, shardIndex, shardLabel } from '../sharded-cluster/names.ts';
import type { Usage } from './plan.ts';

/** What is there of a claim's member. */
export interface MemberTraces {
  /** The cluster, if it is there, as its user wrote it. */
  readonly owner: ShardedCluster | undefined;
  /** Of the claim's shard. */
  readonly statefulSet: StatefulSet | undefined;
  /** Whether the pod is there that mounts the claim. */
  readonly hasPod: boolean;
}

/** Name of the pod that mounts a claim. */
export function podOfClaim({ metadata }: PersistentVolumeClaim): string {
  return metadata.name.replace(/^data-/, '');
}

/** In use while the cluster wants the member, or while its StatefulSet or pod is still there. */
export function usageOf(claim: PersistentVolumeClaim, { owner, statefulSet, hasPod }: MemberTraces): Usage {
  const { [clusterLabel]: cluster, [shardLabel]: shard } = claim.metadata.labels ?? {};
  if (cluster === undefined || shard === undefined) return 'unknown';
  const ordinal = podOrdinal(cluster, shard, podOfClaim(claim));
  const index = shardIndex(shard);
  if (ordinal === undefined || index === undefined) return 'unknown';
  if (hasPod || ordinal < (statefulSet?.spec?.replicas ?? 0)) return 'used';
  if (owner === undefined) return 'unused';
  const wanted = index < desiredShards(owner.spec, owner.status) && ordinal < (owner.spec.members ?? 3);
  return wanted ? 'used' : 'unused';
}
