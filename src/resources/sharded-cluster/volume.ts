import type { Volume } from '../../sharding/room.ts';
import { bytesOf } from './desired/quantity.ts';
import type { PersistentVolumeClaim } from './kubernetes.ts';
import type { ShardedCluster } from './model.ts';
import { releasedAtAnnotation, shardLabel } from './names.ts';

/**
 * What fits on a shard: on the smallest volume of its members, as Kubernetes has measured them, since what moves goes to each of
 * them; what the spec asks for while none is measured. Volumes of members that are gone do not count: nothing mounts them, so
 * they never grow.
 */
export function volumeOf(
  { spec }: Pick<ShardedCluster, 'spec'>,
  claims: readonly PersistentVolumeClaim[],
  shard: string,
): Volume {
  const measured = claims
    .filter(
      ({ metadata }) =>
        metadata.labels?.[shardLabel] === shard && metadata.annotations?.[releasedAtAnnotation] === undefined,
    )
    .flatMap(({ status }) =>
      status?.capacity?.storage === undefined ? [] : bytesOf(status.capacity.storage),
    );
  const wanted = bytesOf(spec.storage.size);
  const bytes = measured.length === 0 ? wanted : Math.min(...measured);
  return bytes < wanted ? { bytes, growsTo: spec.storage.size } : { bytes };
}
