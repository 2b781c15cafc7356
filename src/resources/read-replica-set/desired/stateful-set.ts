import { durationMs } from '../../../api/v1alpha1/duration.ts';
import { memberClaim, memberPodSpec } from '../../sharded-cluster/desired/member-pod.ts';
import { socketDirectory } from '../../sharded-cluster/desired/parameters.ts';
import type { PodDisruptionBudget } from '../../sharded-cluster/desired/pod-disruption-budget.ts';
import type { StatefulSet } from '../../sharded-cluster/desired/stateful-set.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import { shardTlsSecret } from '../../sharded-cluster/names.ts';
import type { ReadReplicaSet } from '../model.ts';
import { replicaLabels, replicaSelector, replicasConfigMap, replicasName } from '../names.ts';
import { ownedMetadata } from './owned-object.ts';

/** What is not in the spec of the set. */
export interface ReplicaStatefulSetOptions {
  readonly image: string;
  /** Members are added and removed in an order that the plan decides. */
  readonly members: number;
}

/** The members of a set in a shard: like those of the shard, but for what they may do. */
export function replicaStatefulSet(
  set: ReadReplicaSet,
  cluster: ShardedCluster,
  shard: string,
  { image, members }: ReplicaStatefulSetOptions,
): StatefulSet {
  const { name } = set.metadata;
  const labels = replicaLabels(set.spec.cluster, name, shard);
  const storage = { ...cluster.spec.storage, ...set.spec.storage };
  const graceSeconds = Math.ceil((durationMs(set.spec.drainGrace) ?? 0) / 1_000);
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: ownedMetadata(set, shard, replicasName(name, shard)),
    spec: {
      serviceName: replicasName(name, shard),
      replicas: members,
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'OnDelete' },
      // They are deleted after the hold period, if at all.
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
      revisionHistoryLimit: 3,
      selector: { matchLabels: replicaSelector(name, shard) },
      template: {
        metadata: { labels },
        spec: memberPodSpec({
          serviceAccount: replicasName(name, shard),
          selector: replicaSelector(name, shard),
          image,
          imagePullSecrets: set.spec.imagePullSecrets ?? cluster.spec.imagePullSecrets,
          configMap: replicasConfigMap(name, shard),
          tlsSecret: shardTlsSecret(set.spec.cluster, shard),
          resources: set.spec.resources ?? cluster.spec.resources,
          placement: cluster.spec.placement,
          drain: {
            seconds: graceSeconds,
            lifecycle: { preStop: { exec: { command: ['/bin/sh', '-c', drainScript(graceSeconds)] } } },
          },
        }),
      },
      volumeClaimTemplates: [memberClaim(labels, storage)],
    },
  };
}

const runningQueries =
  "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' " +
  "AND usename NOT IN ('herdsman', 'postgres')";

/** What a member does before it is stopped, whoever ends the pod: Services have let go of it by then, and what still runs in it may finish. */
export function drainScript(graceSeconds: number): string {
  return [
    `end=$(($(date +%s) + ${graceSeconds}))`,
    'export PGOPTIONS="-c search_path=pg_catalog"',
    'sleep 1',
    'while [ "$(date +%s)" -lt "$end" ]; do',
    `  running=$(/usr/lib/postgresql/17/bin/psql -XAtq -h ${socketDirectory} -U postgres -d postgres -c "${runningQueries}") || exit 0`,
    '  [ "$running" != 0 ] || exit 0',
    '  sleep 0.5',
    'done',
  ].join('\n');
}

/** Lets a drain take one member of the set in the shard at a time. */
export function replicaDisruptionBudget(set: ReadReplicaSet, shard: string): PodDisruptionBudget {
  const { name } = set.metadata;
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: ownedMetadata(set, shard, replicasName(name, shard)),
    spec: { maxUnavailable: 1, selector: { matchLabels: replicaSelector(name, shard) } },
  };
}
