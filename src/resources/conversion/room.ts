import type { Problem } from '../../sharding/problem.ts';
import {
  mebibytes,
  neededRoom,
  roomFactor,
  usableVolume,
  type Volume,
  wayToRoom,
} from '../../sharding/room.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import type { GroupReport } from './status.ts';

type Halted = Extract<GroupReport['outcome'], { kind: 'waiting' | 'refused' }>;

/** The copies lie beside the plain tables until the retention ends, and what is changed meanwhile is in the WAL. */
export function missingRoom(
  group: string,
  bytes: { readonly group: number; readonly database: number },
  volume: Volume,
): Problem[] {
  if (bytes.database + roomFactor * bytes.group <= usableVolume * volume.bytes) return [];
  const message =
    `the tables of group "${group}" need ${neededRoom(roomFactor * bytes.group)} beside what the database has, and the ` +
    `volume has ${mebibytes(volume.bytes)}: ${wayToRoom(volume)}`;
  return [{ code: 'VolumeTooSmall', message }];
}

/**
 * What a group waits for that finds a full disk, which its copies have not filled, or which they may not leave any more. PostgreSQL's
 * words name another file each time, and a status is written whenever its message is another.
 */
export function diskFull(shard: string, { growsTo }: Volume, isBegun: boolean): Halted {
  const remedy =
    growsTo === undefined ? ', or raise spec.storage.size' : `; its volume has yet to grow to ${growsTo}`;
  const message =
    `the disk of shard ${shard} ${isBegun ? 'is full' : 'was full before anything was copied'}, and it is tried again until ` +
    `there is room: free some of it${remedy}`;
  return { kind: 'waiting', reason: 'DiskFull', message };
}

/** The refusal of a group whose copies have filled the disk; `cause` is what PostgreSQL said. */
export function diskFilled(shard: string, volume: Volume, cause: string): Halted {
  if (volume.growsTo !== undefined) return volumeGrows(shard, volume);
  const message = `${cause}: the copies on shard ${shard} were dropped; raise spec.storage.size, and it is tried again`;
  return { kind: 'refused', reason: 'DiskFull', message };
}

/**
 * The refusal that still holds for a group whose copies have filled the disk before: they would fill it again until the volume
 * has grown; with another spec that it has grown to, they are tried again.
 */
export function filledBefore(
  { metadata, status }: Pick<ShardedCluster, 'metadata' | 'status'>,
  group: string,
  shard: string,
  volume: Volume,
): Halted | undefined {
  const told = status?.conversions?.find((entry) => entry.group === group);
  if (told?.phase !== 'refused' || (told.reason !== 'DiskFull' && told.reason !== 'VolumeGrows'))
    return undefined;
  if (volume.growsTo !== undefined) return volumeGrows(shard, volume);
  const converted = status?.conditions?.find(({ type }) => type === 'Converted');
  if (told.reason === 'VolumeGrows' || converted?.observedGeneration !== metadata.generation)
    return undefined;
  return { kind: 'refused', reason: told.reason, message: told.message ?? '' };
}

function volumeGrows(shard: string, { bytes, growsTo }: Volume): Halted {
  const message =
    `the copies have filled the disk of shard ${shard}, and were dropped; they are made again when its volume, which has ` +
    `${mebibytes(bytes)}, has grown to ${growsTo}`;
  return { kind: 'refused', reason: 'VolumeGrows', message };
}
