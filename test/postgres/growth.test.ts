import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ShardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { applyBatches, readCatalog } from '../../src/postgres/catalog.ts';
import { layoutOf } from '../../src/sharding/layout.ts';
import { initialMap, ownerCounts, reconcileMap } from '../../src/sharding/map.ts';
import { verifyTables } from '../../src/sharding/verify-tables.ts';
import { leavesOf, makeWorld, migrate, rows, type World } from './world.ts';

const first = {
  name: '1',
  sql: `CREATE TABLE customers (id int PRIMARY KEY) PARTITION BY HASH (id);
    CREATE TABLE weather (origin text PRIMARY KEY) PARTITION BY LIST (origin);
    CREATE TABLE accounts (tenant text PRIMARY KEY) PARTITION BY LIST (tenant)`,
};
const second = {
  name: '2',
  sql: `CREATE TABLE orders (customer_id int REFERENCES customers, id int, PRIMARY KEY (customer_id, id))
    PARTITION BY HASH (customer_id);
    CREATE TABLE logs (at timestamptz PRIMARY KEY) PARTITION BY RANGE (at)`,
};
const before: Table[] = [
  { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 16 },
  { name: 'weather', strategy: 'geographic', key: 'origin', regions: [{ name: 'jfk', values: ['JFK'] }] },
  {
    name: 'accounts',
    strategy: 'directory',
    key: 'tenant',
    buckets: 4,
    tenants: [{ value: 'acme', shard: 's1' }],
  },
];
const after: Table[] = [
  ...before.filter((table) => table.name !== 'weather'),
  {
    name: 'weather',
    strategy: 'geographic',
    key: 'origin',
    regions: [
      { name: 'jfk', values: ['JFK'] },
      { name: 'sfo', values: ['SFO'], shards: ['s1'] },
    ],
  },
  { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
  { name: 'logs', strategy: 'range', key: 'at', bounds: [{ to: '2025-01-01' }, { from: '2025-01-01' }] },
];

let world: World;
let map: ShardMapSpec;
const shards = [{ name: 's0' }, { name: 's1' }];

beforeAll(async () => {
  world = await makeWorld('growth', 3);
  const layout = layoutOf(before);
  map = initialMap('growth', layout, shards);
  for (const shard of world.shards) expect(await migrate(shard, [first], layout)).toBeUndefined();
}, 60_000);
afterAll(() => world?.close());

/** Applies one batch, plans again, and so on: as if every batch were followed by a crash. */
async function converge(layout: ReturnType<typeof layoutOf>): Promise<void> {
  for (const shard of world.shards) {
    for (let left = Number.POSITIVE_INFINITY; ; ) {
      const { batches, problems } = await leavesOf(world, shard, map, layout);
      expect(problems).toEqual([]);
      // Fewer each time, or it would never end.
      expect(batches.length).toBeLessThan(left);
      if (batches.length === 0) break;
      left = batches.length;
      await applyBatches(shard.operator, batches.slice(0, 1));
    }
  }
}

describe('a growing cluster', () => {
  it('gets its leaves also when it is interrupted after every batch', async () => {
    await converge(layoutOf(before));
    await rows(world.shard(0).application, "INSERT INTO public.weather VALUES ('JFK')");
  });

  it('has on a shard that joined later no leaf, and the whole mirror', async () => {
    const joined = world.shard(2);
    const catalog = await readCatalog(joined.operator);
    expect(catalog.markers).toEqual([]);
    expect(catalog.tables.filter((table) => !table.partitioned)).toEqual([]);
    for (const insert of ['customers VALUES (1)', "accounts VALUES ('acme')", "accounts VALUES ('other')"]) {
      const taken = rows(joined.application, `INSERT INTO public.${insert}`);
      await expect(taken).rejects.toMatchObject({ sqlstate: '23514' });
    }
    const located = await rows(joined.application, "SELECT shard FROM herdsman.locate('accounts', 'acme')");
    expect(located).toEqual([{ shard: 's1' }]);
  });

  it('gets leaves of tables, regions and groups that are added, beside its rows', async () => {
    const layout = layoutOf(after);
    for (const shard of world.shards) {
      expect(await migrate(shard, [first, second], layout)).toBeUndefined();
      expect(verifyTables(layout, await readCatalog(shard.operator))).toEqual([]);
    }
    const owners = ownerCounts(map);
    const reconciled = reconcileMap(map, layout, shards);
    expect(reconciled).toMatchObject({ changed: true, problems: [] });
    map = reconciled.map;
    expect(ownerCounts(map).get('s0')?.customer).toBe(owners.get('s0')?.customer);
    await converge(layout);
    const { foreignKeys } = await readCatalog(world.shard(0).operator);
    expect(foreignKeys.filter((key) => /^orders_b/.test(key.table))).toHaveLength(8);
    await rows(world.shard(1).application, "INSERT INTO public.weather VALUES ('SFO')");
    expect(await rows(world.shard(0).application, 'SELECT origin FROM public.weather')).toEqual([
      { origin: 'JFK' },
    ]);
  });

  it('tells what is wrong with its tables', async () => {
    const wrong: Table[] = [
      { name: 'nowhere', strategy: 'hash', key: 'id' },
      { name: 'customers', strategy: 'directory', key: 'id' },
      { name: 'orders', strategy: 'hash', key: 'id', buckets: 16 },
      { name: 'logs', strategy: 'reference' },
      { name: 'customers_b0000', strategy: 'hash', key: 'id', buckets: 2 },
    ];
    const catalog = await readCatalog(world.shard(0).operator);
    expect(verifyTables(layoutOf(wrong), catalog).map((problem) => problem.code)).toEqual([
      'table-missing',
      'wrong-strategy',
      'wrong-key',
      'is-a-partition',
      'reference-partitioned',
    ]);
  });

  it('tells which key is missing in a primary key, and which types differ', async () => {
    const { application, operator } = world.shard(2);
    await application.query({
      text: `CREATE TABLE public.keyless (a int, b int) PARTITION BY HASH (a);
        CREATE TABLE public.half (a text, b int, PRIMARY KEY (a)) PARTITION BY LIST (a);
        CREATE TABLE public.wide (id bigint PRIMARY KEY) PARTITION BY HASH (id)`,
    });
    const wrong: Table[] = [
      { name: 'keyless', strategy: 'hash', key: 'a' },
      {
        name: 'half',
        strategy: 'geographic',
        key: 'a',
        hashKey: 'b',
        regions: [{ name: 'r', values: ['x'], buckets: 2 }],
      },
      { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 16 },
      { name: 'wide', strategy: 'hash', key: 'id', group: 'customer' },
    ];
    const problems = verifyTables(layoutOf(wrong), await readCatalog(operator));
    expect(problems.map((problem) => problem.code)).toEqual([
      'no-primary-key',
      'key-not-in-primary-key',
      'key-types-differ',
    ]);
    expect(problems[1]?.message).toContain('write "PRIMARY KEY (a, b)"');
  });
});
