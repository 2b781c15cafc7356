import { expect, it } from 'vitest';
import { conditionsOf, messageOf } from './status.ts';

const lastEnding = {
  reason: 'AlreadyThere',
  message: 'bucket 2 is on shard s1 already',
  next: 'failed' as const,
};

it.each(['failed', 'cancelled'] as const)('says at the end of a move that %s why', (phase) => {
  expect(messageOf({ phase, lastEnding }, '')).toBe('AlreadyThere: bucket 2 is on shard s1 already');
});

it('says nothing of an attempt before, once the move is done or goes on', () => {
  expect(messageOf({ phase: 'done', lastEnding }, '')).toBeUndefined();
  expect(messageOf({ phase: 'copy', lastEnding }, 'Working: copy')).toBeUndefined();
  expect(messageOf({ phase: 'copy', lastEnding }, 'Paused: before fence')).toBe('Paused: before fence');
});

it.each([
  ['NoSuchCluster: there is no ShardedCluster "shop"', 'NoSuchCluster', 'there is no ShardedCluster "shop"'],
  ['copies rows', 'Moving', 'copies rows'],
  [undefined, 'Moving', 'the bucket is on its way'],
])('has the reason of what it waits for in its condition: %s', (message, reason, text) => {
  const status = message === undefined ? {} : { message };
  const [ready] = conditionsOf(status, undefined, new Date());
  expect(ready).toMatchObject({ type: 'Ready', status: 'False', reason, message: text });
});
