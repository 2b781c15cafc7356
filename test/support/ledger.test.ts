import { expect, test } from 'vitest';
import { Ledger } from './ledger.ts';

function ledgerOf(acknowledged: readonly number[], unknown: readonly number[] = []): Ledger {
  const ledger = new Ledger();
  for (const n of acknowledged) ledger.acknowledge(0, n, n * 10);
  for (const n of unknown) ledger.leaveUnknown(0, n);
  return ledger;
}

const rows = (...numbers: readonly number[]) => numbers.map((n) => ({ writer: 0, n }));

test.each([
  ['all there', [1, 2], [], rows(1, 2), { lost: [], doubled: [], strange: [] }],
  ['an acknowledged row is away', [1, 2], [], rows(1), { lost: ['0/2'], doubled: [], strange: [] }],
  ['an unknown row is away', [1], [2], rows(1), { lost: [], doubled: [], strange: [] }],
  ['an unknown row is there', [1], [2], rows(1, 2), { lost: [], doubled: [], strange: [] }],
  ['an unknown row is there twice', [1], [2], rows(1, 2, 2), { lost: [], doubled: ['0/2'], strange: [] }],
  ['a row that nobody wrote', [1], [], rows(1, 3), { lost: [], doubled: [], strange: ['0/3'] }],
] as const)('%s', (_, acknowledged, unknown, stored, expected) => {
  expect(ledgerOf(acknowledged, unknown).judge(stored)).toMatchObject(expected);
});

test('the gap is the longest time between commits, and counts from the fault on', () => {
  const ledger = new Ledger();
  for (const at of [0, 500, 510, 520, 900, 910]) ledger.acknowledge(0, at, at);
  expect(ledger.longestGapMs()).toBe(500);
  expect(ledger.longestGapMs(515)).toBe(380);
  expect(ledger.longestGapMs(905)).toBe(10);
});
