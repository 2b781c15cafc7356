import { describe, expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { sketchCluster, sketchMap } from '../rebalance/sketch.ts';
import type { ShardMove } from './model.ts';
import { refusalOf } from './refusal.ts';

const cluster = sketchCluster({
  tables: [
    { name: 'orders', strategy: 'hash', key: 'id', group: 'customer', buckets: 4 },
    {
      name: 'weather',
      strategy: 'geographic',
      key: 'origin',
      regions: [{ name: 'east', values: ['JFK'], shards: ['s0'] }],
    },
  ],
});
const map = sketchMap(cluster);

function refused(spec: object): ReturnType<typeof refusalOf> {
  const shardMove: ShardMove = {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name: 'm', namespace: 'test', uid: 'uid' },
    spec: shardMoveSpec.parse({ cluster: 'shop', group: 'customer', buckets: [0], to: 's1', ...spec }),
  };
  return refusalOf(shardMove, cluster, map);
}

describe('a ShardMove', () => {
  it('is begun when map and spec agree with it', () => {
    expect(refused({})).toBeUndefined();
    expect(refused({ from: 's0' })).toBeUndefined();
  });

  it.each([
    ['NoSuchGroup', { group: 'nobody' }, "write one of the ShardMap's (customer, weather)"],
    ['NoSuchBucket', { buckets: [4] }, 'group "customer" has no bucket 4'],
    ['NoSuchShard', { to: 's2' }, 'write one of s0, s1'],
    ['AlreadyThere', { to: 's0' }, 'is on shard s0 already'],
    ['NotTheOwner', { from: 's5' }, 'write "from: s0"'],
    ['NotAllowed', { group: 'weather' }, 'region "east" may only be on s0'],
  ])('is refused with %s, and told what to write', (reason, spec, says) => {
    expect(refused(spec)).toMatchObject({ reason, message: expect.stringContaining(says) });
  });
});
