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

function refused(spec: object, reversed?: ShardMove): ReturnType<typeof refusalOf> {
  return refusalOf(sketch(spec), cluster, map, reversed);
}

function sketch(spec: object, status: ShardMove['status'] = {}): ShardMove {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name: 'm', namespace: 'test', uid: 'uid' },
    spec: shardMoveSpec.parse({ cluster: 'shop', group: 'customer', buckets: [0], to: 's1', ...spec }),
    status,
  };
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
    ['DifferentShards', { buckets: [0, 1] }, 'write a ShardMove for those of each shard'],
    ['NothingToReverse', { reverseOf: 'gone' }, 'there is no ShardMove "gone"'],
  ])('is refused with %s, and told what to write', (reason, spec, says) => {
    expect(refused(spec)).toMatchObject({ reason, message: expect.stringContaining(says) });
  });
});

describe('a ShardMove that reverses another', () => {
  const there: ShardMove['status'] = { phase: 'retain', from: 's1', parents: [{ id: 0 }] };

  it('is begun while the retention of that one runs', () => {
    expect(refused({ reverseOf: 'there' }, sketch({ to: 's0' }, there))).toBeUndefined();
  });

  it('is told where to, and not that the bucket is there already', () => {
    expect(refused({ reverseOf: 'there', to: 's0' }, sketch({ to: 's0' }, there))).toMatchObject({
      reason: 'NotTheReverse',
      message: expect.stringContaining('"to: s1"'),
    });
  });

  it.each([
    ['NothingToReverse', { to: 's0' }, { ...there, phase: 'done' }, 'is in the phase done'],
    ['NotTheReverse', { to: 's0', buckets: [2] }, there, '"buckets: [2]" and "to: s1"'],
    ['NotTheReverse', { to: 's0' }, { ...there, from: 's2' }, '"to: s2"'],
  ])('is refused with %s else', (reason, spec, status, says) => {
    const reversed = sketch(spec, status as ShardMove['status']);
    expect(refused({ reverseOf: 'there' }, reversed)).toMatchObject({
      reason,
      message: expect.stringContaining(says),
    });
  });
});
