import { expect, test } from 'vitest';
import { fewestShards, keptShards } from './kept-shards.ts';
import { type SpecSketch, shardedCluster } from './test-support/world.ts';

const all = ['s0', 's1', 's2', 's3'];
const geographic = { name: 'people', strategy: 'geographic', key: 'country' } as const;
const pinned = (region: object): SpecSketch => ({
  tables: [{ ...geographic, regions: [{ name: 'eu', values: ['de'], ...region }] }],
});

test.each<[string, SpecSketch, readonly string[], Record<string, string>, number]>([
  ['but the first one', {}, all, {}, 1],
  [
    'with a range on it',
    {
      tables: [
        { name: 'events', strategy: 'range', key: 'at', bounds: [{ to: '10', shard: 's2' }, { from: '10' }] },
      ],
    },
    all,
    { s2: 'spec.tables names it' },
    2,
  ],
  [
    'with a tenant on it',
    { tables: [{ name: 'a', strategy: 'directory', key: 't', tenants: [{ value: 'x', shard: 's3' }] }] },
    all,
    { s3: 'spec.tables names it' },
    2,
  ],
  ['with a region on it', pinned({ shards: ['s1'] }), all, { s1: 'spec.tables names it' }, 2],
  [
    'that is the last in the zone of a region',
    { shards: { count: 3, zones: ['a', 'b'] }, ...pinned({ zones: ['b'] }) },
    ['s0', 's1', 's2'],
    { s1: 'it is the last in b' },
    2,
  ],
  [
    'while its zone has another one',
    { shards: { count: 4, zones: ['a', 'b'] }, ...pinned({ zones: ['b'] }) },
    all,
    {},
    2,
  ],
  ['in a zone that no region is pinned to', { shards: { count: 2, zones: ['a', 'b'] } }, ['s0', 's1'], {}, 1],
])('no shard stays %s', (_, spec, names, kept, fewest) => {
  const cluster = shardedCluster(spec);
  expect(Object.fromEntries(keptShards(cluster.spec, names))).toEqual({
    s0: 'it has the plain tables',
    ...kept,
  });
  expect(fewestShards(cluster.spec, names)).toBe(fewest);
});
