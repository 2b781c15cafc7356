import { expect, it } from 'vitest';
import { type KeyedRow, RowLedger } from './row-ledger.ts';

const clean = { lost: [], stale: [], doubled: [], strange: [] };

function ledger(): RowLedger {
  const made = new RowLedger();
  made.settle('kept', 1);
  made.settle('changed', 1);
  made.settle('changed', 2);
  made.settle('deleted', 1);
  made.settle('deleted', undefined);
  made.doubt('perhaps inserted', 1);
  made.settle('perhaps changed', 1);
  made.doubt('perhaps changed', 2);
  made.settle('perhaps deleted', 1);
  made.doubt('perhaps deleted', undefined);
  return made;
}

const rows = (found: Record<string, number>): KeyedRow[] =>
  Object.entries(found).map(([key, value]) => ({ key, value }));

const there = { kept: 1, changed: 2, 'perhaps changed': 1 };

it.each([
  ['without any commit that was not answered', there],
  ['with all of them', { ...there, 'perhaps inserted': 1, 'perhaps changed': 2 }],
  ['with a deletion that did not happen', { ...there, 'perhaps deleted': 1 }],
])('is content %s', (_, found) => {
  expect(ledger().judge(rows(found))).toEqual(clean);
});

it.each([
  ['lost', { changed: 2, 'perhaps changed': 1 }, { lost: ['kept'] }],
  ['stale', { ...there, changed: 1 }, { stale: ['changed'] }],
  ['stale, though in doubt', { ...there, 'perhaps changed': 3 }, { stale: ['perhaps changed'] }],
  ['there again', { ...there, deleted: 1 }, { strange: ['deleted'] }],
  ['written by nobody', { ...there, other: 1 }, { strange: ['other'] }],
])('finds what is %s', (_, found, wrong) => {
  expect(ledger().judge(rows(found))).toEqual({ ...clean, ...wrong });
});

it('finds what is doubled', () => {
  expect(ledger().judge([...rows(there), ...rows({ kept: 1 })])).toEqual({ ...clean, doubled: ['kept'] });
});

it('knows the rows that are certain', () => {
  expect(ledger().rows()).toEqual(
    new Map([
      ['kept', 1],
      ['changed', 2],
    ]),
  );
});
