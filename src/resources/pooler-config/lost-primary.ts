import type { Change } from '../../runtime/informer.ts';
import { isPodReady, type Pod } from '../sharded-cluster/kubernetes.ts';
import { clusterLabel, roleLabel, shardLabel } from '../sharded-cluster/names.ts';
import type { ShardKey } from '../sharded-cluster/serving.ts';
import { longestPauseMs } from './holding.ts';
import type { PoolerConfig } from './model.ts';
import type { WatchedPrimary } from './sentinels.ts';

/** The shard that has just lost its primary without a plan: the pod that led is gone, going, or no longer ready. */
export function lostPrimary({ old, current }: Change<Pod>): ShardKey | undefined {
  const shard = old === undefined ? undefined : shardLedBy(old);
  if (old === undefined || shard === undefined) return undefined;
  const isSame = current?.metadata.uid === old.metadata.uid;
  return isSame && current !== undefined && isPodReady(current) ? undefined : shard;
}

/** The primaries that clients of poolers depend on which hold them back while it changes. */
export function watchedPrimaries(
  pods: readonly Pod[],
  poolers: readonly Pick<PoolerConfig, 'metadata' | 'spec'>[],
): WatchedPrimary[] {
  const holding = new Set(
    poolers
      .filter((pooler) => (pooler.spec.target.role ?? 'rw') === 'rw' && longestPauseMs(pooler) > 0)
      .map(({ metadata, spec }) => `${metadata.namespace}/${spec.target.cluster}`),
  );
  return pods.flatMap((pod): WatchedPrimary[] => {
    const shard = shardLedBy(pod);
    const { uid } = pod.metadata;
    if (shard === undefined || uid === undefined) return [];
    return holding.has(`${shard.namespace}/${shard.cluster}`) ? [{ shard, uid }] : [];
  });
}

/** The shard that a pod leads, as far as Kubernetes knows. */
function shardLedBy(pod: Pod): ShardKey | undefined {
  const { namespace = '', labels = {} } = pod.metadata;
  const { [clusterLabel]: cluster, [shardLabel]: shard, [roleLabel]: role } = labels;
  if (cluster === undefined || shard === undefined || role !== 'primary' || !isPodReady(pod))
    return undefined;
  return { namespace, cluster, shard };
}
