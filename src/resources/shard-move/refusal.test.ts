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
    { name: 'account', strategy: 'directory', key: 'tenant', buckets: 2, tenants: [{ value: 'big' }] },
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

  it('that splits the only shard is told to add one', () => {
    const one = sketchCluster({ shards: { count: 1 }, owners: 1, tables: [...cluster.spec.tables] });
    const spec = shardMoveSpec.parse({
      cluster: 'shop',
      operation: 'split',
      group: 'customer',
      buckets: [0],
      to: 's0',
    });
    const shardMove = { metadata: { name: 'm', namespace: 'test', uid: 'uid' }, spec } as ShardMove;
    expect(refusalOf(shardMove, one, sketchMap(one, 1))?.message).toContain(
      'raise spec.shards.count of the cluster to 2',
    );
  });

  it.each([
    ['NoSuchGroup', { group: 'nobody' }, "write one of the ShardMap's (customer, weather, account)"],
    ['NoSuchBucket', { buckets: [4] }, 'group "customer" has no bucket 4'],
    ['NoSuchShard', { to: 's2' }, 'write one of s0, s1'],
    ['AlreadyThere', { to: 's0' }, 'is on shard s0 already'],
    ['NotTheOwner', { from: 's5' }, 'write "from: s0"'],
    ['SameShard', { operation: 'split', to: 's0' }, 'write "to: s1", and move what comes of it back'],
    [
      'DifferentShards',
      { operation: 'merge', buckets: [0, 1] },
      'are on s0 and s1: move them to one shard first',
    ],
    ['NotADirectory', { operation: 'isolate', buckets: [], tenant: 'a' }, 'write "operation: split"'],
    [
      'AlreadyIsolated',
      { operation: 'isolate', group: 'account', buckets: [], tenant: 'big' },
      'has bucket 2 of its own',
    ],
    ['NotAllowed', { group: 'weather' }, 'region "east" may only be on s0'],
  ])('is refused with %s, and told what to write', (reason, spec, says) => {
    expect(refused(spec)).toMatchObject({ reason, message: expect.stringContaining(says) });
  });
});
