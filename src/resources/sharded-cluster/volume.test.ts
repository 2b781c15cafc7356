import { expect, it } from 'vitest';
import { shardedCluster } from './test-support/world.ts';
import { volumeBytes } from './volume.ts';

const cluster = shardedCluster({ storage: { size: '10Gi' } });

/** A claim of a shard, and what its volume was found to hold. */
function claim(shard: string, storage?: string) {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: `data-shop-${shard}`, labels: { 'herdsman.dev/shard': shard } },
    status: storage === undefined ? {} : { capacity: { storage } },
  };
}

it.each([
  ['the spec while nothing is measured', [claim('s1')], 10],
  ['the smallest volume of the shard', [claim('s1', '12Gi'), claim('s1', '8Gi'), claim('s0', '1Gi')], 8],
  ['those volumes that are measured', [claim('s1'), claim('s1', '20Gi')], 20],
])('the room on a shard is that of %s', (_, claims, expected) => {
  expect(volumeBytes(cluster, claims, 's1')).toBe(expected * 2 ** 30);
});
