import type { Problem } from '../../sharding/problem.ts';
import { bytesOf } from '../sharded-cluster/desired/quantity.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import type { GroupReport } from './status.ts';

/** What copies need, as a multiple of the tables' size, and the part of a volume that may be filled. */
const roomFactor = 1.3;
const usableVolume = 0.9;

type Refused = Extract<GroupReport['outcome'], { kind: 'waiting' | 'refused' }>;

/** The copies lie beside the plain tables until the retention ends, and what is changed meanwhile is in the WAL. */
export function missingRoom(
  group: string,
  bytes: { readonly group: number; readonly database: number },
  volumeBytes: number,
): Problem[] {
  if (bytes.database + roomFactor * bytes.group <= usableVolume * volumeBytes) return [];
  const message =
    `the tables of group "${group}" need ${mebibytes(roomFactor * bytes.group)} beside what the database has, and the ` +
    `volume has ${mebibytes(volumeBytes)}: raise spec.storage.size`;
  return [{ code: 'VolumeTooSmall', message }];
}

/** The refusal of a group whose copies have filled the disk; `cause` is what PostgreSQL said. */
export function diskFilled(
  { spec }: Pick<ShardedCluster, 'spec'>,
  shard: string,
  volumeBytes: number,
  cause: string,
): Refused {
  if (volumeBytes < bytesOf(spec.storage.size)) return volumeGrows({ spec }, shard, volumeBytes);
  const message = `${cause}: the copies on shard ${shard} were dropped; raise spec.storage.size, and it is tried again`;
  return { kind: 'refused', reason: 'DiskFull', message };
}

/**
 * The refusal that still holds for a group whose copies have filled the disk before: they would fill it again until the volume
 * has grown; with another spec that it has grown to, they are tried again.
 */
export function filledBefore(
  { metadata, spec, status }: Pick<ShardedCluster, 'metadata' | 'spec' | 'status'>,
  group: string,
  shard: string,
  volumeBytes: number,
): Refused | undefined {
  const told = status?.conversions?.find((entry) => entry.group === group);
  if (told?.phase !== 'refused' || (told.reason !== 'DiskFull' && told.reason !== 'VolumeGrows'))
    return undefined;
  if (volumeBytes < bytesOf(spec.storage.size)) return volumeGrows({ spec }, shard, volumeBytes);
  const converted = status?.conditions?.find(({ type }) => type === 'Converted');
  if (told.reason === 'VolumeGrows' || converted?.observedGeneration !== metadata.generation)
    return undefined;
  return { kind: 'refused', reason: told.reason, message: told.message ?? '' };
}

function volumeGrows({ spec }: Pick<ShardedCluster, 'spec'>, shard: string, volumeBytes: number): Refused {
  const message =
    `the copies have filled the disk of shard ${shard}, and were dropped; they are made again when its volume, which has ` +
    `${mebibytes(volumeBytes)}, has grown to ${spec.storage.size}`;
  return { kind: 'refused', reason: 'VolumeGrows', message };
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
