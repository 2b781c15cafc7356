import { describe, expect, it } from 'vitest';
import { layoutOf } from './layout.ts';
import { planSequences, startNumbers } from './sequences.ts';
import type { DistributionRow, OwnedSequence, ShardCatalog } from './shard-catalog.ts';

const [group] = layoutOf([
  { name: 'orders', strategy: 'hash', key: 'customer', group: 'customer' },
  { name: 'lines', strategy: 'hash', key: 'customer', group: 'customer' },
]).groups;
const known: DistributionRow = {
  table_name: 'orders',
  group_name: 'customer',
  strategy: 'hash',
  key_column: 'customer',
  hash_column: null,
};
const widest = 2 ** 63;

function plan(shardIndex: number, change: Partial<OwnedSequence>, distribution = [known]): string[] {
  if (group === undefined) throw new Error('no group');
  const sequence: OwnedSequence = { table: 'orders', start: 1, maximum: widest, unused: true, ...change };
  const catalog: ShardCatalog = {
    installed: true,
    tables: [],
    sequences: [sequence],
    foreignKeys: [],
    recordedKeys: [],
    markers: [],
    mirror: [],
    distribution,
    ledger: [],
    preparedTransactions: 0,
    moving: [],
    conversions: [],
  };
  return planSequences(group, shardIndex, catalog).map(({ text }) => text);
}

describe('numbers of a shard', () => {
  it.each([
    [1, '10000000000001'],
    [2, '20000000000001'],
    [127, '1270000000000001'],
  ])('begin apart from those of the others: shard %i', (shardIndex, first) => {
    const [text = ''] = startNumbers('orders', shardIndex, 'all');
    expect(text).toContain(`START WITH ${first} RESTART WITH ${first}`);
    expect(text).toContain(`'"public"."orders"'::regclass`);
    expect(plan(shardIndex, {})).toEqual(startNumbers('orders', shardIndex, 'unused'));
  });

  it('begin at 1 on the first, whatever is there', () => {
    expect(startNumbers('orders', 0, 'all')).toEqual([]);
    expect(plan(0, { start: -5 })).toEqual([]);
  });

  it.each<[string, Partial<OwnedSequence>]>([
    ['a sequence that was used or set', { unused: false }],
    ['one that begins there already', { start: 10_000_000_000_001 }],
    ['one without room for them', { maximum: 10_000_000_000_001 }],
    ['one of a table that is not of the group', { table: 'others' }],
    ['one that somebody has locked', { unused: null }],
  ])('are not given to %s', (_, change) => {
    expect(plan(1, change)).toEqual([]);
  });

  it('are given when the table is new on the shard and somebody has the sequence locked', () => {
    expect(plan(1, { unused: null }, [])).toEqual(startNumbers('orders', 1, 'unused'));
  });
});
