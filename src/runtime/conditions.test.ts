import { expect, test } from 'vitest';
import { findCondition, isConditionTrue, setCondition } from './conditions.ts';
import type { Condition } from './kubernetes-object.ts';

const ready: Condition = {
  type: 'Ready',
  status: 'False',
  reason: 'Starting',
  message: '1 of 3 members is ready',
  lastTransitionTime: '2026-01-01T00:00:00Z',
  observedGeneration: 1,
};
const now = new Date('2026-02-02T02:02:02.222Z');

test('the first condition of a type gets the time, in whole seconds as metav1.Time has it', () => {
  const { lastTransitionTime: _, ...input } = ready;
  expect(setCondition([], input, now)).toEqual([{ ...ready, lastTransitionTime: '2026-02-02T02:02:02Z' }]);
});

test.each<[string, Partial<Condition>, string]>([
  ['another message keeps the time', { message: '2 of 3 members are ready' }, '2026-01-01T00:00:00Z'],
  ['another reason keeps the time', { reason: 'Cloning' }, '2026-01-01T00:00:00Z'],
  ['another generation keeps the time', { observedGeneration: 2 }, '2026-01-01T00:00:00Z'],
  ['another status moves the time', { status: 'True' }, '2026-02-02T02:02:02Z'],
])('%s', (_, change, time) => {
  expect(setCondition([ready], { ...ready, ...change }, now)).toEqual([
    { ...ready, ...change, lastTransitionTime: time },
  ]);
});

test('nothing new gives back the very same conditions', () => {
  const conditions = [ready];
  expect(setCondition(conditions, { ...ready }, now)).toBe(conditions);
});

test('other conditions and the order stay, and the input is not changed', () => {
  const other: Condition = { ...ready, type: 'Degraded' };
  const conditions = Object.freeze([ready, other]);
  const result = setCondition(conditions, { ...ready, status: 'True' }, now);
  expect(result.map(({ type }) => type)).toEqual(['Ready', 'Degraded']);
  expect(result[1]).toBe(other);
});

test('a condition that is missing is not true', () => {
  expect(isConditionTrue(undefined, 'Ready')).toBe(false);
  expect(isConditionTrue([ready], 'Ready')).toBe(false);
  expect(isConditionTrue([{ ...ready, status: 'True' }], 'Ready')).toBe(true);
  expect(findCondition([ready], 'Degraded')).toBeUndefined();
});
