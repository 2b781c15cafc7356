import type { Problem } from '../../sharding/problem.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { isGrowing } from '../sharded-cluster/volume.ts';
import type { GroupReport } from './status.ts';

/** What copies need, as a multiple of the tables' size, and the part of a volume that may be filled. */
const roomFactor = 1.3;
const usableVolume = 0.9;

type Halted = Extract<GroupReport['outcome'], { kind: 'waiting' | 'refused' }>;

/** The copies lie beside the plain tables until the retention ends, and what is changed meanwhile is in the WAL. */
export function missingRoom(
  { spec }: Pick<ShardedCluster, 'spec'>,
  group: string,
  bytes: { readonly group: number; readonly database: number },
  volumeBytes: number,
): Problem[] {
  if (bytes.database + roomFactor * bytes.group <= usableVolume * volumeBytes) return [];
  const remedy = isGrowing({ spec }, volumeBytes)
    ? `it waits until the volume has grown to ${spec.storage.size}`
    : 'raise spec.storage.size';
  const message =
    `the tables of group "${group}" need ${mebibytes(roomFactor * bytes.group)} beside what the database has, and the ` +
    `volume has ${mebibytes(volumeBytes)}: ${remedy}`;
  return [{ code: 'VolumeTooSmall', message }];
}

/** What a group waits for whose first step finds a full disk, which it has not filled; `cause` is what PostgreSQL said. */
export function diskFull(shard: string, cause: string): Halted {
  const message =
    `${cause}: the disk of shard ${shard} was full before anything was copied; free some of it, or raise spec.storage.size: ` +
    'it is tried again until there is room';
  return { kind: 'waiting', reason: 'DiskFull', message };
}

/** The refusal of a group whose copies have filled the disk; `cause` is what PostgreSQL said. */
export function diskFilled(
  { spec }: Pick<ShardedCluster, 'spec'>,
  shard: string,
  volumeBytes: number,
  cause: string,
): Halted {
  if (isGrowing({ spec }, volumeBytes)) return volumeGrows({ spec }, shard, volumeBytes);
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
): Halted | undefined {
  const told = status?.conversions?.find((entry) => entry.group === group);
  if (told?.phase !== 'refused' || (told.reason !== 'DiskFull' && told.reason !== 'VolumeGrows'))
    return undefined;
  if (isGrowing({ spec }, volumeBytes)) return volumeGrows({ spec }, shard, volumeBytes);
  const converted = status?.conditions?.find(({ type }) => type === 'Converted');
  if (told.reason === 'VolumeGrows' || converted?.observedGeneration !== metadata.generation)
    return undefined;
  return { kind: 'refused', reason: told.reason, message: told.message ?? '' };
}

function volumeGrows({ spec }: Pick<ShardedCluster, 'spec'>, shard: string, volumeBytes: number): Halted {
  const message =
    `the copies have filled the disk of shard ${shard}, and were dropped; they are made again when its volume, which has ` +
    `${mebibytes(volumeBytes)}, has grown to ${spec.storage.size}`;
  return { kind: 'refused', reason: 'VolumeGrows', message };
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
