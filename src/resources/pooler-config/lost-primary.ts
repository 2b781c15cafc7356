import type { Change } from '../../runtime/informer.ts';
import { isPodReady, type Pod } from '../sharded-cluster/kubernetes.ts';
import { clusterLabel, roleLabel, shardLabel } from '../sharded-cluster/names.ts';
import type { ShardKey } from '../sharded-cluster/serving.ts';

/** The shard that has just lost its primary without a plan: the pod that led is gone, going, or no longer ready. */
export function lostPrimary({ old, current }: Change<Pod>): ShardKey | undefined {
  const labels = old?.metadata.labels ?? {};
  const { [clusterLabel]: cluster, [shardLabel]: shard, [roleLabel]: role } = labels;
  if (old === undefined || cluster === undefined || shard === undefined || role !== 'primary')
    return undefined;
  const isSame = current?.metadata.uid === old.metadata.uid;
  if (!isPodReady(old) || (isSame && current !== undefined && isPodReady(current))) return undefined;
  return { namespace: old.metadata.namespace ?? '', cluster, shard };
}
