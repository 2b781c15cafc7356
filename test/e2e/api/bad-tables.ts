import { type BadSpec, directory, ranges, regions, table, tables } from './specs.ts';

/** Specs whose tables must be refused. */
export const badTables: readonly BadSpec[] = [
  {
    what: 'a table without a key',
    spec: tables({ name: 'orders', strategy: 'hash' }),
    says: 'write "key": the column by which rows are distributed',
  },
  {
    what: 'a reference table with a key',
    spec: tables(table({ strategy: 'reference' })),
    says: 'a reference table is whole on every shard: remove "key" and "group"',
  },
  {
    what: 'buckets of ranges',
    spec: ranges([{ to: '1' }], { buckets: 4 }),
    says: '"buckets" belongs to the strategy hash or directory',
  },
  {
    what: 'bounds of hash',
    spec: tables(table({ bounds: [{ to: '1' }] })),
    says: '"bounds" belongs to the strategy range',
  },
  {
    what: 'a default of hash',
    spec: tables(table({ defaultBucket: true })),
    says: '"defaultBucket" belongs to the strategy range',
  },
  {
    what: 'regions of hash',
    spec: tables(table({ regions: [{ name: 'eu', values: ['de'] }] })),
    says: '"regions" belongs to the strategy geographic',
  },
  {
    what: 'a hash key of hash',
    spec: tables(table({ hashKey: 'id' })),
    says: '"hashKey" belongs to the strategy geographic',
  },
  {
    what: 'tenants of hash',
    spec: tables(table({ tenants: [{ value: 'a' }] })),
    says: '"tenants" belongs to the strategy directory',
  },
  { what: 'two tables of one name', spec: tables(table({}), table({})), says: 'name="orders"' },
  {
    what: 'two strategies in a group',
    spec: tables(table({ group: 'g' }), table({ name: 'lines', group: 'g', strategy: 'directory' })),
    says: 'tables of one colocation group have two strategies',
  },
  {
    what: 'a group named like a table of another strategy',
    spec: tables(table({}), table({ name: 'lines', group: 'orders', strategy: 'directory' })),
    says: 'tables of one colocation group have two strategies',
  },
  {
    what: 'two numbers of buckets in a group',
    spec: tables(table({ group: 'g', buckets: 8 }), table({ name: 'lines', group: 'g', buckets: 16 })),
    says: 'these give different "buckets"',
  },
  {
    what: 'two lists of tenants in a group',
    spec: tables(
      table({ group: 'g', strategy: 'directory', tenants: [{ value: 'a' }] }),
      table({ name: 'lines', group: 'g', strategy: 'directory', tenants: [{ value: 'b' }] }),
    ),
    says: 'these give different "tenants"',
  },
  {
    what: 'two lists of bounds in a group',
    spec: tables(
      table({ group: 'g', strategy: 'range', bounds: [{ to: '1' }] }),
      table({ name: 'lines', group: 'g', strategy: 'range', bounds: [{ to: '2' }] }),
    ),
    says: 'these give different "bounds"',
  },
  {
    what: 'two lists of regions in a group',
    spec: tables(
      table({ group: 'g', strategy: 'geographic', regions: [{ name: 'eu', values: ['de'] }] }),
      table({ name: 'lines', group: 'g', strategy: 'geographic', regions: [{ name: 'eu', values: ['fr'] }] }),
    ),
    says: 'these give different "regions"',
  },
  {
    what: 'ranges without bounds',
    spec: tables(table({ strategy: 'range' })),
    says: 'the strategy range needs "bounds"',
  },
  {
    what: 'geography without regions',
    spec: tables(table({ strategy: 'geographic' })),
    says: 'the strategy geographic needs "regions"',
  },
  { what: 'an empty range', spec: ranges([{ from: '10', to: '10' }]), says: 'a range of "bounds" is empty' },
  {
    what: 'a range upside down',
    spec: ranges([{ from: '10', to: '9' }]),
    says: 'a range of "bounds" is empty',
  },
  {
    what: 'a range without bounds',
    spec: ranges([{ shard: 's0' }]),
    says: 'a range needs "from", "to" or both',
  },
  {
    what: 'a gap without a default',
    spec: ranges([{ to: '10' }, { from: '11' }]),
    says: 'a gap or an overlap in "bounds"',
  },
  { what: 'overlapping ranges', spec: ranges([{ to: '10' }, { from: '5' }]), says: '"bounds" overlap' },
  {
    what: 'overlapping ranges beside a default',
    spec: ranges([{ to: '10' }, { from: '9' }], { defaultBucket: true }),
    says: '"bounds" overlap',
  },
  {
    what: 'overlapping dates',
    spec: ranges([{ to: '2025-01-01' }, { from: '2024-12-31' }], { defaultBucket: true }),
    says: '"bounds" overlap',
  },
  {
    what: 'the same range twice',
    spec: ranges([
      { from: 'a', to: 'b' },
      { from: 'a', to: 'b' },
    ]),
    says: 'a gap or an overlap in "bounds"',
  },
  {
    what: 'an open bound in the middle',
    spec: ranges([{ to: '10' }, { to: '20' }]),
    says: 'only the first of "bounds" may lack "from"',
  },
  {
    what: 'a default without bounds',
    spec: tables(
      table({ group: 'g', strategy: 'range', bounds: [{ to: '1' }] }),
      table({ name: 'lines', group: 'g', strategy: 'range', defaultBucket: true }),
    ),
    says: 'write "defaultBucket" on the table of the group that has "bounds"',
  },
  {
    what: 'a range on a shard that is not there',
    spec: ranges([{ to: '10', shard: 's1' }]),
    says: '"shard" of one of "bounds" names a shard that is not there',
  },
  {
    what: 'a tenant on a shard that is not there',
    spec: directory([{ value: 'acme', shard: 's7' }]),
    says: '"shard" of one of "tenants" names a shard that is not there',
  },
  {
    what: 'a tenant twice',
    spec: directory([{ value: 'acme' }, { value: 'acme', shard: 's0' }]),
    says: 'value="acme"',
  },
  {
    what: 'a region on a shard that is not there',
    spec: regions([{ name: 'eu', values: ['de'], shards: ['s2'] }]),
    says: 'a region is pinned to a shard that is not there',
  },
  {
    what: 'a region in a zone that no shard has',
    spec: regions(
      [{ name: 'eu', values: ['de'], zones: ['zone-c'] }],
      {},
      { count: 2, zones: ['zone-a', 'zone-b'] },
    ),
    says: 'a region is pinned to a zone that no shard has',
  },
  {
    what: 'a region in a zone beyond the shards',
    spec: regions(
      [{ name: 'eu', values: ['de'], zones: ['zone-b'] }],
      {},
      { count: 1, zones: ['zone-a', 'zone-b'] },
    ),
    says: 'raise shards.count to the number of zones',
  },
  {
    what: 'a region pinned twice',
    spec: regions(
      [{ name: 'eu', values: ['de'], zones: ['a'], shards: ['s0'] }],
      {},
      { count: 1, zones: ['a'] },
    ),
    says: 'pin a region by "shards" or by "zones", not by both',
  },
  {
    what: 'two regions of one name',
    spec: regions([
      { name: 'eu', values: ['de'] },
      { name: 'eu', values: ['fr'] },
    ]),
    says: 'name="eu"',
  },
  {
    what: 'a value twice in a region',
    spec: regions([{ name: 'eu', values: ['de', 'de'] }]),
    says: '[="de"]',
  },
  {
    what: 'a region of several buckets without a hash key',
    spec: regions([{ name: 'eu', values: ['de'], buckets: 2 }]),
    says: 'a region of several "buckets" needs "hashKey"',
  },
  {
    what: 'a hash key on one table of two',
    spec: tables(
      table({
        group: 'g',
        strategy: 'geographic',
        hashKey: 'id',
        regions: [{ name: 'eu', values: ['de'], buckets: 2 }],
      }),
      table({ name: 'lines', group: 'g', strategy: 'geographic' }),
    ),
    says: 'write "hashKey" on every table of the colocation group',
  },
  {
    what: 'names too long for a partition',
    spec: regions([{ name: 'r'.repeat(30), values: ['de'] }], { name: 't'.repeat(40) }),
    says: 'shorten one of them',
  },
  { what: 'a quoted name', spec: tables(table({ name: 'Orders' })), says: 'spec.tables[0].name' },
];
