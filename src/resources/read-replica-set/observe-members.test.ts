import { expect, test } from 'vitest';
import { emptyMemory } from './memory.ts';
import { positionOf } from './observe-members.ts';
import { member, primary, readers } from './test-support/world.ts';

const { pod } = member(readers(), 0);
const silence = { state: 'unknown' as const, error: new Error('silence') };
const seen = { ...primary, standbys: { 'readers-s0-replicas-0': { replayed: 50, received: 60 } } };

test('a member that does not answer is where its primary sees it, else where it was', () => {
  const memory = emptyMemory(0);
  const own = { state: 'present' as const, value: { replayed: 40, received: 45 } };
  expect(positionOf({ memory }, pod, silence, primary)).toBeUndefined();
  expect(positionOf({ memory }, pod, own, seen)).toEqual({ replayed: 40, received: 45 });
  expect(positionOf({ memory }, pod, silence, seen)).toEqual({ replayed: 50, received: 60 });
  expect(positionOf({ memory }, pod, silence, primary)).toEqual({ replayed: 50, received: 60 });
  expect(positionOf({ memory }, pod, silence, undefined)).toEqual({ replayed: 50, received: 60 });
});

test('a member that is not ready is nowhere', () => {
  expect(positionOf({ memory: emptyMemory(0) }, pod, { state: 'absent' }, seen)).toBeUndefined();
});
