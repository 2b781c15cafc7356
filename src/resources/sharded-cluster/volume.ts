import { bytesOf } from './desired/quantity.ts';
import type { PersistentVolumeClaim } from './kubernetes.ts';
import type { ShardedCluster } from './model.ts';
import { releasedAtAnnotation, shardLabel } from './names.ts';

/**
 * What fits on a shard: on the smallest volume of its members, as Kubernetes has measured them, since what moves goes to each of
 * them; what the spec asks for while none is measured. Volumes of members that are gone do not count: nothing mounts them, so
 * they never grow.
 */
export function volumeBytes(
  { spec }: Pick<ShardedCluster, 'spec'>,
  claims: readonly PersistentVolumeClaim[],
  shard: string,
): number {
  const measured = claims
    .filter(
      ({ metadata }) =>
        metadata.labels?.[shardLabel] === shard && metadata.annotations?.[releasedAtAnnotation] === undefined,
    )
    .flatMap(({ status }) =>
      status?.capacity?.storage === undefined ? [] : bytesOf(status.capacity.storage),
    );
  return measured.length === 0 ? bytesOf(spec.storage.size) : Math.min(...measured);
}

/** Whether a volume has not grown yet to what the spec asks for. */
export function isGrowing({ spec }: Pick<ShardedCluster, 'spec'>, volumeBytes: number): boolean {
  return volumeBytes < bytesOf(spec.storage.size);
}
