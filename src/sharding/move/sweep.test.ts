import { expect, it } from 'vitest';
import type { Bucket, ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { gidOf } from './names.ts';
import { judgeStray } from './sweep.ts';

const guard = { move: 'm.0a0a0a0a', group: 'g', buckets: [3] };
const fence = gidOf({ id: '0a0a0a0a', attempt: 2, side: 'fence', epoch: 7 });
const open = gidOf({ id: '0a0a0a0a', attempt: 2, side: 'open', epoch: 7 });
const undecided: Bucket = { id: 3, shard: 's0', epoch: 4 };
const announced: Bucket = { ...undecided, pending: { move: guard.move, attempt: 2 } };
const others: Bucket = { ...undecided, pending: { move: 'other.1b1b1b1b', attempt: 2 } };
const decided: Bucket = { id: 3, shard: 's1', epoch: 7 };
const movedOn: Bucket = { id: 3, shard: 's2', epoch: 9 };

function mapOf(bucket: Bucket): ShardMapSpec {
  return { cluster: 'c', epoch: 9, groups: [{ name: 'g', strategy: 'hash', buckets: [bucket] }] };
}

it.each([
  ['fence', 's0', fence, undecided, 'roll-back'],
  ['open', 's1', open, undecided, 'roll-back'],
  ['fence', 's0', fence, announced, 'clear-pending'],
  ['open', 's1', open, announced, 'clear-pending'],
  ['fence', 's0', fence, others, 'roll-back'],
  ['fence', 's0', fence, decided, 'commit'],
  ['open', 's1', open, decided, 'commit'],
  ['open of a shard that is not the owner', 's2', open, decided, 'roll-back'],
  ['fence', 's0', fence, movedOn, 'roll-back'],
])('a stray %s on %s', (_, shard, gid, bucket, kind) => {
  expect(judgeStray({ gid, guard }, shard, mapOf(bucket))).toMatchObject({ kind });
});

it('of which the shard knows nothing is rolled back', () => {
  expect(judgeStray({ gid: fence, guard: undefined }, 's0', mapOf(decided))).toEqual({ kind: 'roll-back' });
});
