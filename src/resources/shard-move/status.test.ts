import { expect, it } from 'vitest';
import { messageOf } from './status.ts';

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
