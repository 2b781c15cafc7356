import type { SpecSketch } from './world.ts';

/** Three shards with a table of every strategy, and reference tables. */
export const everyStrategy: SpecSketch = {
  shards: { count: 3, zones: ['zone-0', 'zone-1'] },
  schema: [
    { name: '001-tables', sql: 'CREATE TABLE orders (…)' },
    { name: '002-more', sql: 'CREATE TABLE notes (…)' },
  ],
  tables: [
    { name: 'orders', strategy: 'hash', key: 'customer', group: 'customer', buckets: 6 },
    { name: 'lines', strategy: 'hash', key: 'customer', group: 'customer' },
    {
      name: 'readings',
      strategy: 'range',
      key: 'day',
      bounds: [{ to: '2025-01-01' }, { from: '2025-01-01' }],
    },
    {
      name: 'people',
      strategy: 'geographic',
      key: 'country',
      hashKey: 'id',
      regions: [
        { name: 'north', values: ['is', 'no'], buckets: 2 },
        { name: 'south', values: ['it'], shards: ['s1'] },
      ],
    },
    {
      name: 'documents',
      strategy: 'directory',
      key: 'tenant',
      buckets: 4,
      tenants: [{ value: 'acme', shard: 's2' }],
    },
    { name: 'countries', strategy: 'reference' },
  ],
};

/** Specs from the plainest on. */
export const specs: Readonly<Record<string, SpecSketch>> = {
  'one member': { members: 1 },
  'one shard': {},
  'parameters and sizes': {
    shards: { count: 2 },
    members: 5,
    durability: 'synchronous',
    resources: { requests: { cpu: '2', memory: '4Gi' }, limits: { memory: '4Gi' } },
    postgres: { parameters: { work_mem: '16MB' } },
  },
  'every strategy': everyStrategy,
};
