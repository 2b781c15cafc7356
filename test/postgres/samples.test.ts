import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ShardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import { shardedCluster } from '../../src/api/v1alpha1/sharded-cluster.ts';
import { applyBatches, readCatalog } from '../../src/postgres/catalog.ts';
import { type Layout, layoutOf, placementProblems } from '../../src/sharding/layout.ts';
import { initialMap } from '../../src/sharding/map.ts';
import { verifyTables } from '../../src/sharding/verify-tables.ts';
import { leavesOf, makeWorld, migrate, rows, type World } from './world.ts';

let world: World;
let layout: Layout;
let map: ShardMapSpec;

beforeAll(async () => {
  world = await makeWorld('flights', 2);
  const sample = join(import.meta.dirname, '../../deploy/samples/flights.yaml');
  const { spec } = shardedCluster.parse(load(await readFile(sample, 'utf8')));
  layout = layoutOf(spec.tables);
  const shards = world.shards.map(({ name }, index) => ({ name, zone: spec.shards.zones[index] }));
  expect([...layout.problems, ...placementProblems(layout, shards)]).toEqual([]);
  map = initialMap('flights', layout, shards);
  const migrations = spec.schema.map(({ name, sql }) => ({ name, sql: sql ?? '' }));
  for (const shard of world.shards) {
    expect(await migrate(shard, migrations, layout)).toBeUndefined();
    await applyBatches(shard.operator, (await leavesOf(world, shard, map, layout)).batches);
  }
}, 60_000);
afterAll(() => world?.close());

describe('the sample with flights', () => {
  it('has what its spec says, and needs nothing more', async () => {
    for (const shard of world.shards) {
      expect(verifyTables(layout, await readCatalog(shard.operator))).toEqual([]);
      expect(await leavesOf(world, shard, map, layout)).toEqual({ batches: [], problems: [] });
    }
  });

  it('finds the shards of thousands of keys in one query', async () => {
    const located = await rows<{ n: number; shards: number }>(
      world.shard(0).application,
      `SELECT count(*)::int AS n, count(DISTINCT place.shard)::int AS shards FROM generate_series(1, 5000) AS key,
        LATERAL herdsman.locate('aircraft', 'N' || key) AS place`,
    );
    expect(located).toEqual([{ n: 5000, shards: 2 }]);
  });
});
