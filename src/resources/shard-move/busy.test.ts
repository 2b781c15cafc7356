import { expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { busyObstacle } from './busy.ts';
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
])('a move does not wait for %s', (_, other) => {
  expect(busyObstacle(mine, [other])).toBeUndefined();
});
