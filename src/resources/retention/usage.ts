import type { ReadReplicaSet } from '../read-replica-set/model.ts';
import { replicaOrdinal } from '../read-replica-set/names.ts';
import { readableNames } from '../read-replica-set/readable-shards.ts';
import { desiredShards } from '../sharded-cluster/desired-shards.ts';
import type { PersistentVolumeClaim, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import {
  clusterLabel,
  podOrdinal,
  replicaSetLabel,
  shardIndex,
  shardLabel,
} from '../sharded-cluster/names.ts';
import { wantedNames } from '../sharded-cluster/wanted-shards.ts';

/** Whether a member uses a claim; `unknown` leads to nothing. */
export type Usage = 'used' | 'unused' | 'unknown';

/** What is there of a claim's member. */
export interface MemberTraces<T> {
  /** Whose member it is, if that is there, as its user wrote it. */
  readonly owner: T | undefined;
  /** The cluster that its owner follows, if it is one that does and the cluster is there. */
  readonly cluster: ShardedCluster | undefined;
  /** Of the claim's member. */
  readonly statefulSet: StatefulSet | undefined;
  /** Whether the pod is there that mounts the claim. */
  readonly hasPod: boolean;
}

/** Name of the pod that mounts a claim. */
export function podOfClaim({ metadata }: PersistentVolumeClaim): string {
  return metadata.name.replace(/^data-/, '');
}

/** In use while the owner wants the member, or while its StatefulSet or pod is still there. */
function usageBy<T extends ShardedCluster | ReadReplicaSet>(
  ordinal: number,
  { owner, statefulSet, hasPod }: MemberTraces<T>,
  ask: (owner: T) => Usage,
): Usage {
  if (hasPod || ordinal < (statefulSet?.spec?.replicas ?? 0)) return 'used';
  if (owner === undefined) return 'unused';
  // As long as it is suspended nothing of it goes.
  return owner.spec.suspend === true ? 'unknown' : ask(owner);
}

/** Whether a member of a cluster uses a claim. */
export function usageOf(claim: PersistentVolumeClaim, traces: MemberTraces<ShardedCluster>): Usage {
  const { [clusterLabel]: cluster, [shardLabel]: shard } = claim.metadata.labels ?? {};
  if (cluster === undefined || shard === undefined) return 'unknown';
  const ordinal = podOrdinal(cluster, shard, podOfClaim(claim));
  if (ordinal === undefined || shardIndex(shard) === undefined) return 'unknown';
  return usageBy(ordinal, traces, (owner) => {
    // More shards are wanted than were chosen yet: it may be this one that comes back.
    if (wantedNames(owner).length < desiredShards(owner.spec, owner.status)) return 'unknown';
    const wanted = wantedNames(owner).includes(shard) && ordinal < (owner.spec.members ?? 3);
    return wanted ? 'used' : 'unused';
  });
}

/** The same for a member of a read replica set. */
export function replicaUsage(claim: PersistentVolumeClaim, traces: MemberTraces<ReadReplicaSet>): Usage {
  const { [replicaSetLabel]: set, [shardLabel]: shard } = claim.metadata.labels ?? {};
  if (set === undefined || shard === undefined) return 'unknown';
  const ordinal = replicaOrdinal(set, shard, podOfClaim(claim));
  if (ordinal === undefined) return 'unknown';
  return usageBy(ordinal, traces, ({ spec, status }) => {
    const { shards, replicas = 1, autoscaling } = spec;
    if (shards !== undefined && !shards.includes(shard)) return 'unused';
    // The autoscaler goes between what it is bound to and what it has decided; either may be about to come true.
    const least = autoscaling === undefined || autoscaling.dryRun ? replicas : (autoscaling.minReplicas ?? 1);
    return ordinal < Math.max(least, status?.replicas?.desired ?? 0)
      ? usageIn(traces.cluster, shard)
      : 'unused';
  });
}

/** Whether a set that shall be in every shard of a cluster uses what it has in this one. */
function usageIn(cluster: ShardedCluster | undefined, shard: string): Usage {
  // Without its cluster a set stays as it is, and a read model is in no shard.
  if (cluster === undefined || shardIndex(shard) === undefined) return 'used';
  const { spec, status } = cluster;
  if (readableNames(cluster).includes(shard)) return 'used';
  const present = status?.shards?.items.map(({ name }) => name) ?? [];
  // One that was deleted and has come back tells of its shards when it has looked.
  const isChosen = present.length > 0 && wantedNames(cluster).length >= desiredShards(spec, status);
  return spec.suspend === true || !isChosen || present.includes(shard) ? 'unknown' : 'unused';
}
