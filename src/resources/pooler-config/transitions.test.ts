import { expect, it } from 'vitest';
import type { Condition } from '../../runtime/kubernetes-object.ts';
import { transitionsOf } from './transitions.ts';

function condition(type: string, status: 'True' | 'False'): Condition {
  return { type, status, reason: 'Because', message: 'so', lastTransitionTime: '2026-01-01T00:00:00Z' };
}

function told(before: readonly Condition[] | undefined, after: readonly Condition[]): string[] {
  return transitionsOf(before, after).map(
    ({ condition: { type, status }, isBad }) => `${isBad ? 'Warning' : 'Normal'} ${type}=${status}`,
  );
}

const wrong = [
  condition('Ready', 'False'),
  condition('Progressing', 'False'),
  condition('Degraded', 'True'),
  condition('PoolModeFits', 'True'),
];
const well = [
  condition('Ready', 'True'),
  condition('Progressing', 'False'),
  condition('Degraded', 'False'),
  condition('PoolModeFits', 'True'),
];

it('tells of a spec that is refused from the first', () => {
  expect(told(undefined, wrong)).toEqual(['Warning Degraded=True']);
});

it('tells once that a new one is ready, and not that it is not yet', () => {
  expect(told(undefined, well)).toEqual(['Normal Ready=True']);
  expect(told(undefined, [condition('Ready', 'False'), condition('Degraded', 'False')])).toEqual([]);
});

it('tells of each change, and of nothing twice', () => {
  expect(told(wrong, well)).toEqual(['Normal Ready=True', 'Normal Degraded=False']);
  expect(told(well, [condition('Ready', 'False')])).toEqual(['Warning Ready=False']);
  expect(told(wrong, wrong)).toEqual([]);
});
