import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Table } from '../api/v1alpha1/table.ts';
import { compareBounds } from './bounds.ts';
import { layoutOf, placementProblems } from './layout.ts';

const codes = (tables: readonly Table[]) => layoutOf(tables).problems.map((problem) => problem.code);
const range = (bounds: Table['bounds'], more: Partial<Table> = {}): Table => ({
  name: 'events',
  strategy: 'range',
  key: 'day',
  bounds,
  ...more,
});
const geographic = (regions: Table['regions'], more: Partial<Table> = {}): Table => ({
  name: 'weather',
  strategy: 'geographic',
  key: 'origin',
  regions,
  ...more,
});

describe('a layout', () => {
  it('puts tables of one group together, and takes what one of them gives', () => {
    const layout = layoutOf([
      { name: 'lines', strategy: 'hash', key: 'customer_id', group: 'customer' },
      { name: 'orders', strategy: 'hash', key: 'customer', group: 'customer', buckets: 16 },
      { name: 'countries', strategy: 'reference' },
      { name: 'alone', strategy: 'hash', key: 'id' },
    ]);
    expect(layout.problems).toEqual([]);
    expect(layout.references).toEqual(['countries']);
    expect(layout.groups).toMatchObject([
      {
        name: 'customer',
        strategy: 'hash',
        buckets: 16,
        tables: [
          { name: 'lines', key: 'customer_id' },
          { name: 'orders', key: 'customer' },
        ],
      },
      { name: 'alone', buckets: 64 },
    ]);
  });

  it.each<[string, Table[], string[]]>([
    [
      'two strategies',
      [
        { name: 'a', strategy: 'hash', key: 'id', group: 'g' },
        { name: 'b', strategy: 'directory', key: 'id', group: 'g' },
      ],
      ['two-strategies'],
    ],
    [
      'two numbers of buckets',
      [
        { name: 'a', strategy: 'hash', key: 'id', group: 'g', buckets: 8 },
        { name: 'b', strategy: 'hash', key: 'id', group: 'g', buckets: 16 },
      ],
      ['two-layouts'],
    ],
    [
      'a table twice',
      [
        { name: 'a', strategy: 'hash', key: 'id' },
        { name: 'a', strategy: 'reference' },
      ],
      ['table-twice'],
    ],
    ['no bounds', [range(undefined)], ['no-bounds']],
    ['no regions', [geographic(undefined)], ['no-regions']],
    ['ranges side by side', [range([{ to: '5' }, { from: '5', to: '10.5' }, { from: '10.50' }])], []],
    ['open ends', [range([{ from: '2024-01-01', to: '2025-01-01' }])], []],
    ['overlapping numbers', [range([{ to: '10' }, { from: '9', to: '20' }])], ['overlap']],
    ['overlapping dates', [range([{ to: '2024-02-01' }, { from: '2024-01-31' }])], ['overlap']],
    ['overlapping by an open end', [range([{ from: '1' }, { from: '5' }])], ['overlap']],
    ['a gap', [range([{ to: '10' }, { from: '11' }])], ['gap']],
    ['a gap with a default', [range([{ to: '10' }, { from: '11' }], { defaultBucket: true })], []],
    ['a gap of texts', [range([{ to: 'm' }, { from: 'n' }])], ['gap']],
    ['an empty range', [range([{ from: '5', to: '5' }])], ['empty-range']],
    ['an inverted range', [range([{ from: '10', to: '9' }])], ['empty-range']],
    ['a value in two regions', [geographic([region('a', 'x'), region('b', 'y', 'x')])], ['value-twice']],
    ['a region twice', [geographic([region('a', 'x'), region('a', 'y')])], ['region-twice']],
    [
      'a divided region without a second column',
      [geographic([{ name: 'a', values: ['x'], buckets: 4 }])],
      ['no-hash-key'],
    ],
    ['a divided region', [geographic([{ name: 'a', values: ['x'], buckets: 4 }], { hashKey: 'id' })], []],
    [
      'a tenant twice',
      [{ name: 't', strategy: 'directory', key: 'id', tenants: [{ value: 'a' }, { value: 'a' }] }],
      ['tenant-twice'],
    ],
    [
      'a name that a leaf has',
      [
        { name: 'orders', strategy: 'hash', key: 'id', buckets: 8 },
        { name: 'orders_b0007', strategy: 'reference' },
      ],
      ['name-taken'],
    ],
    [
      'a name over 63 bytes',
      [geographic([{ name: 'r'.repeat(40), values: ['x'] }], { name: 'w'.repeat(30) })],
      ['name-too-long'],
    ],
    [
      'too many buckets',
      [{ name: 't', strategy: 'directory', key: 'k', buckets: 1024, tenants: [{ value: 'a' }] }],
      ['too-many-buckets'],
    ],
  ])('with %s has problems accordingly', (_, tables, expected) => {
    expect(codes(tables)).toEqual(expected);
  });

  it('tells what is pinned to what is not there', () => {
    const layout = layoutOf([
      geographic([
        { name: 'a', values: ['x'], zones: ['z1'] },
        { name: 'b', values: ['y'], zones: ['z9'] },
        { name: 'c', values: ['z'], shards: ['s0', 's7'] },
      ]),
      range([{ to: '1', shard: 's8' }]),
      { name: 't', strategy: 'directory', key: 'id', tenants: [{ value: 'a', shard: 's9' }] },
    ]);
    const problems = placementProblems(layout, [{ name: 's0', zone: 'z1' }, { name: 's1' }]);
    expect(problems.map((problem) => problem.code)).toEqual([
      'region-without-shard',
      'no-such-shard',
      'no-such-shard',
      'no-such-shard',
    ]);
    expect(problems[1]?.message).toContain('write one of s0, s1');
  });
});

function region(name: string, ...values: string[]) {
  return { name, values };
}

describe('bounds', () => {
  it('are ordered like the numbers they are', () => {
    fc.assert(
      fc.property(fc.bigInt(), fc.bigInt(), (a, b) => {
        expect(Math.sign(compareBounds(`${a}`, `${b}`) ?? 9)).toBe(a < b ? -1 : a > b ? 1 : 0);
      }),
    );
    expect(compareBounds('-0.5', '-0.25')).toBe(-1);
    expect(compareBounds('1.50', '1.5')).toBe(0);
  });

  it('of texts are left to PostgreSQL', () => {
    expect(compareBounds('a', 'B')).toBeUndefined();
    expect(compareBounds('10', 'x')).toBeUndefined();
  });
});
