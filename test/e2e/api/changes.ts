import { type BadChange, directory, minimal, ranges, regions, type Spec, table, tables } from './specs.ts';

/** Names of ShardedClusters that must be refused. */
export const badNames: readonly { readonly name: string; readonly says: string }[] = [
  { name: 'a'.repeat(41), says: 'the name of a ShardedCluster may have 40 characters' },
  { name: '1shop', says: 'starts with a letter' },
  { name: 'my.shop', says: 'lower-case letters, digits and "-" only' },
];

const importing = (change: object = {}): Spec => ({
  ...minimal,
  bootstrap: { import: { host: 'old', database: 'shop', credentials: 'old', ...change } },
});

/** Changes that must be refused, whatever lies on the shards. */
export const badChanges: readonly BadChange[] = [
  {
    what: 'a smaller volume',
    before: { storage: { size: '2Gi' } },
    spec: { storage: { size: '1500Mi' } },
    says: 'a volume cannot shrink',
  },
  {
    what: 'another class of volumes',
    before: { storage: { size: '1Gi', storageClassName: 'a' } },
    spec: { storage: { size: '1Gi', storageClassName: 'b' } },
    says: 'volumes cannot change their class',
  },
  {
    what: 'a class where there was none',
    before: minimal,
    spec: { storage: { size: '1Gi', storageClassName: 'b' } },
    says: 'volumes cannot change their class',
  },
  {
    what: 'another database',
    before: minimal,
    spec: { ...minimal, postgres: { database: 'shop' } },
    says: 'the database cannot be renamed',
  },
  {
    what: 'an import into a cluster that is there',
    before: minimal,
    spec: importing(),
    says: 'only a new cluster can be filled by an import',
  },
  {
    what: 'an import of another database',
    before: importing(),
    spec: importing({ database: 'other' }),
    says: 'an import under way cannot change its database',
  },
  {
    what: 'an import of other tables',
    before: importing({ tables: ['orders'] }),
    spec: importing({ tables: ['orders', 'lines'] }),
    says: 'an import under way cannot change its tables',
  },
];

const group = tables(table({ group: 'g', buckets: 8 }), table({ name: 'lines', group: 'g' }));
const dated = ranges([{ to: '10' }, { from: '10' }]);
const placed = regions([
  { name: 'eu', values: ['de'] },
  { name: 'us', values: ['us'] },
]);

/** Changes that must be refused once `orders` is laid out on the shards. */
export const badLayoutChanges: readonly BadChange[] = [
  {
    what: 'a table left out',
    before: group,
    spec: tables(table({ name: 'lines', group: 'g', buckets: 8 })),
    says: 'a table that is laid out on the shards cannot be left out',
  },
  {
    what: 'another key',
    before: group,
    spec: tables(table({ group: 'g', buckets: 8, key: 'id' })),
    says: '"strategy", "key", "hashKey" and "group" of a table',
  },
  {
    what: 'another group',
    before: group,
    spec: tables(table({ group: 'h', buckets: 8 })),
    says: '"strategy", "key", "hashKey" and "group" of a table',
  },
  {
    what: 'another strategy',
    before: group,
    spec: tables(table({ group: 'g', buckets: 8, strategy: 'directory' })),
    says: '"strategy", "key", "hashKey" and "group" of a table',
  },
  {
    what: 'other buckets',
    before: group,
    spec: tables(table({ group: 'g', buckets: 16 })),
    says: '"buckets" of a group that is laid out on the shards cannot change',
  },
  {
    what: 'default buckets',
    before: group,
    spec: tables(table({ group: 'g' })),
    says: '"buckets" of a group that is laid out on the shards cannot change',
  },
  {
    what: 'other bounds',
    before: dated,
    spec: ranges([{ to: '11' }, { from: '11' }]),
    says: '"bounds" and "defaultBucket" of a group',
  },
  {
    what: 'a default',
    before: dated,
    spec: ranges([{ to: '10' }, { from: '10' }], { defaultBucket: true }),
    says: '"bounds" and "defaultBucket" of a group',
  },
  {
    what: 'fewer regions',
    before: placed,
    spec: regions([{ name: 'eu', values: ['de'] }]),
    says: '"regions" of a group that is laid out on the shards cannot be left out',
  },
  {
    what: 'other tenants',
    before: directory([{ value: 'a' }]),
    spec: directory([{ value: 'b' }]),
    says: '"tenants" of a group that is laid out on the shards cannot change',
  },
  {
    what: 'tenants where there were none',
    before: directory([]),
    spec: directory([{ value: 'b' }]),
    says: 'cannot get some here: remove them',
  },
];

/** Changes that must be accepted though `orders` is laid out on the shards. */
export const goodLayoutChanges: readonly {
  readonly what: string;
  readonly before: Spec;
  readonly spec: Spec;
}[] = [
  {
    what: 'the layout said by another table of the group',
    before: group,
    spec: tables(table({ group: 'g' }), table({ name: 'lines', group: 'g', buckets: 8 })),
  },
  {
    what: 'another order of tables',
    before: group,
    spec: tables(table({ name: 'lines', group: 'g' }), table({ group: 'g', buckets: 8 })),
  },
  {
    what: 'the default number of buckets, said',
    before: tables(table({})),
    spec: tables(table({ buckets: 64 })),
  },
  {
    what: 'a table that is not laid out, left out',
    before: group,
    spec: tables(table({ group: 'g', buckets: 8 })),
  },
  {
    what: 'another region',
    before: placed,
    spec: regions([
      { name: 'eu', values: ['de'] },
      { name: 'us', values: ['us'] },
      { name: 'ap', values: ['jp'] },
    ]),
  },
  {
    what: 'another range',
    before: ranges([{ to: '10' }]),
    spec: ranges([{ to: '10' }, { from: '10', to: '20' }]),
  },
  {
    what: 'fewer shards',
    before: { ...group, shards: { count: 2 } },
    spec: { ...group, shards: { count: 1 } },
  },
];
