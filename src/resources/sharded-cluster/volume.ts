import { bytesOf } from './desired/quantity.ts';
import type { PersistentVolumeClaim } from './kubernetes.ts';
import type { ShardedCluster } from './model.ts';
import { shardLabel } from './names.ts';

/**
 * What fits on a shard: on the smallest volume of its members, as Kubernetes has measured them, since what moves goes to each of
 * them; what the spec asks for while none is measured.
 */
export function volumeBytes(
  { spec }: Pick<ShardedCluster, 'spec'>,
  claims: readonly PersistentVolumeClaim[],
  shard: string,
): number {
  const measured = claims
    .filter(({ metadata }) => metadata.labels?.[shardLabel] === shard)
    .flatMap(({ status }) =>
      status?.capacity?.storage === undefined ? [] : bytesOf(status.capacity.storage),
    );
  return measured.length === 0 ? bytesOf(spec.storage.size) : Math.min(...measured);
}
