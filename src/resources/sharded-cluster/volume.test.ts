import { expect, it } from 'vitest';
import { shardedCluster } from './test-support/world.ts';
import { volumeOf } from './volume.ts';

const released = { 'herdsman.dev/released-at': '2026-01-01T00:00:00Z' };
const cluster = shardedCluster({ storage: { size: '10Gi' } });

/** A claim of a shard, and what its volume was found to hold. */
function claim(shard: string, storage?: string, annotations = {}) {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: `data-shop-${shard}`, labels: { 'herdsman.dev/shard': shard }, annotations },
    status: storage === undefined ? {} : { capacity: { storage } },
  };
}

it.each([
  ['the spec while nothing is measured', [claim('s1')], 10],
  ['the smallest volume of the shard', [claim('s1', '12Gi'), claim('s1', '8Gi'), claim('s0', '1Gi')], 8],
  ['those volumes that are measured', [claim('s1'), claim('s1', '20Gi')], 20],
  ['the volumes that members use', [claim('s1', '12Gi'), claim('s1', '8Gi', released)], 12],
])('the room on a shard is that of %s', (_, claims, expected) => {
  expect(volumeOf(cluster, claims, 's1').bytes).toBe(expected * 2 ** 30);
});

it.each([
  [9, '10Gi'],
  [10, undefined],
  [11, undefined],
])('a volume of %i GiB where 10Gi are asked for grows to: %s', (gibibytes, expected) => {
  expect(volumeOf(cluster, [claim('s1', `${gibibytes}Gi`)], 's1').growsTo).toBe(expected);
});
