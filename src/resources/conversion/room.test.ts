import { expect, it } from 'vitest';
import type { ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { Volume } from '../../sharding/room.ts';
import { shardedCluster } from '../sharded-cluster/test-support/world.ts';
import { diskFilled, diskFull, filledBefore, missingRoom } from './room.ts';

const gibibyte = 2 ** 30;
const cluster = shardedCluster();

/** A volume of so many GiB where 10Gi are asked for. */
function volumeOf(gibibytes: number): Volume {
  const bytes = gibibytes * gibibyte;
  return gibibytes < 10 ? { bytes, growsTo: '10Gi' } : { bytes };
}

it.each([
  ['room for the copies', { group: 5 * gibibyte, database: 2 * gibibyte }, 10, undefined],
  [
    'too little room in a volume that has not grown yet',
    { group: 5 * gibibyte, database: 2 * gibibyte },
    9,
    /has 9216 MiB: it waits until the volume has grown to 10Gi$/,
  ],
  [
    'too little room in a volume that is as large as was asked for',
    { group: 6 * gibibyte, database: 2 * gibibyte },
    10,
    /has 10240 MiB: raise spec.storage.size$/,
  ],
])('a conversion finds %s', (_, bytes, volume, message) => {
  const problem = { code: 'VolumeTooSmall', message: expect.stringMatching(message ?? '') };
  const expected = message === undefined ? [] : [problem];
  expect(missingRoom('customer', bytes, volumeOf(volume))).toEqual(expected);
});

it('a conversion that finds too little room says the same while its tables grow a little', () => {
  const told = (bytes: number) =>
    missingRoom('customer', { group: bytes, database: 2 * gibibyte }, volumeOf(10));
  expect(told(6 * gibibyte + 2 ** 24)).toEqual(told(6 * gibibyte));
  expect(told(7 * gibibyte)).not.toEqual(told(6 * gibibyte));
});

it.each([
  ['wants a larger one', 10, 'DiskFull', /No space left: .* raise spec.storage.size/],
  ['waits while the volume grows', 5, 'VolumeGrows', /has 5120 MiB, has grown to 10Gi/],
])('a conversion that has filled a disk %s', (_, volume, reason, message) => {
  const refused = diskFilled('s0', volumeOf(volume), 'No space left');
  expect(refused).toMatchObject({ kind: 'refused', reason, message: expect.stringMatching(message) });
});

it.each([
  ['is as large as was asked for', 10, 'or raise spec.storage.size'],
  ['still grows', 5, 'its volume has yet to grow to 10Gi'],
])('a conversion waits for room in a volume that %s', (_, volume, remedy) => {
  const first = diskFull('s0', volumeOf(volume), false);
  const told = `^the disk of shard s0 was full before anything was copied, .*${remedy}$`;
  expect(first).toEqual({ kind: 'waiting', reason: 'DiskFull', message: expect.stringMatching(told) });
  const later = diskFull('s0', volumeOf(volume), true);
  expect(later.message).toMatch(new RegExp(`^the disk of shard s0 is full, .*${remedy}$`));
});

/** What was told of the group, of which generation; the cluster has generation 1. */
function told(phase: string, reason: string, observedGeneration: number): ShardedClusterStatus {
  const condition = { type: 'Converted', status: 'False' as const, reason, message: 'm' };
  return {
    conversions: [{ group: 'customer', phase, reason, message: 'm' }],
    conditions: [{ ...condition, observedGeneration, lastTransitionTime: '2026-01-01T00:00:00Z' }],
  } as ShardedClusterStatus;
}

it.each([
  ['nothing was told', undefined, 10, undefined],
  ['the disk was full, and nothing has changed', told('refused', 'DiskFull', 1), 10, 'DiskFull'],
  ['the disk was full, and the spec is another', told('refused', 'DiskFull', 0), 10, undefined],
  ['the disk was full, and the volume has not grown yet', told('refused', 'DiskFull', 0), 5, 'VolumeGrows'],
  ['the volume has not grown yet', told('refused', 'VolumeGrows', 1), 5, 'VolumeGrows'],
  ['the volume has grown', told('refused', 'VolumeGrows', 1), 10, undefined],
  ['a step waits for room', told('staged', 'DiskFull', 1), 10, undefined],
  ['it was refused for something else', told('refused', 'Unlogged', 1), 5, undefined],
])('of a conversion is refused again when %s', (_, status, volume, reason) => {
  const found = filledBefore({ ...cluster, ...(status && { status }) }, 'customer', 's0', volumeOf(volume));
  expect(found?.reason).toBe(reason);
});
