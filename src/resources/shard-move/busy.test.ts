import { describe, expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { busyObstacle, rivalOf } from './busy.ts';
import type { ShardMove } from './model.ts';

function sketch(name: string, from: string, to: string, phase: string): ShardMove {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name, namespace: 'test', uid: name },
    spec: shardMoveSpec.parse({ cluster: 'shop', group: 'customer', buckets: [0], to }),
    status: { from, phase: phase as 'copy' },
  };
}

function of(cluster: string, shardMove: ShardMove): ShardMove {
  return { ...shardMove, spec: { ...shardMove.spec, cluster } };
}

function createdAt(second: number, shardMove: ShardMove): ShardMove {
  const creationTimestamp = `2026-01-01T00:00:0${second}Z`;
  return { ...shardMove, metadata: { ...shardMove.metadata, creationTimestamp } };
}

const mine = sketch('mine', 's0', 's1', 'preflight');

it.each([
  ['same source', sketch('other', 's0', 's2', 'copy'), 's0'],
  ['same target', sketch('other', 's2', 's1', 'switch'), 's1'],
  ['the other way round', sketch('other', 's1', 's0', 'finish'), 's1'],
])('a move waits for another with the %s', (_, other, shard) => {
  expect(busyObstacle(mine, [mine, other])).toMatchObject({
    code: 'ShardBusy',
    permanent: false,
    message: expect.stringContaining(`shard ${shard} takes part in ShardMove "other"`),
  });
});

it.each([
  ['itself', sketch('mine', 's0', 's1', 'copy')],
  ['one that has not begun', sketch('other', 's0', 's1', 'preflight')],
  ['one whose retention runs', sketch('other', 's0', 's1', 'retain')],
  ['one that is over', sketch('other', 's0', 's1', 'done')],
  ['one of other shards', sketch('other', 's2', 's3', 'copy')],
  ['one of another cluster', of('another', sketch('other', 's0', 's1', 'copy'))],
])('a move does not wait for %s', (_, other) => {
  expect(busyObstacle(mine, [other])).toBeUndefined();
});

describe('of moves that have claimed a shard', () => {
  const claimed = (name: string, second: number) => createdAt(second, sketch(name, 's0', 's1', 'prepare'));

  it.each([
    ['an older one', claimed('a', 1), claimed('b', 2), { isAhead: false }, { isAhead: true }],
    [
      'of one second the one with the lesser uid',
      claimed('a', 1),
      claimed('b', 1),
      { isAhead: false },
      { isAhead: true },
    ],
  ])('%s is ahead', (_, first, second, ofFirst, ofSecond) => {
    const all = [second, first];
    expect(rivalOf(first, all)).toMatchObject(ofFirst);
    expect(rivalOf(second, all)).toMatchObject(ofSecond);
  });

  it('one that may have begun is ahead of an older one', () => {
    const begun = createdAt(2, sketch('b', 's1', 's2', 'copy'));
    expect(rivalOf(claimed('a', 1), [claimed('c', 3), begun])).toEqual({
      message: 'shard s1 takes part in ShardMove "b" (copy)',
      isAhead: true,
    });
  });

  it('one alone has no rival', () => {
    const others = [claimed('a', 1), sketch('b', 's0', 's1', 'preflight'), sketch('c', 's0', 's1', 'retain')];
    expect(rivalOf(claimed('a', 1), others)).toBeUndefined();
  });
});
