import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ShardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { applyBatches, readCatalog } from '../../src/postgres/catalog.ts';
import type { Layout } from '../../src/sharding/layout.ts';
import { bucketsOf } from '../../src/sharding/map.ts';
import { rebuildFromMarkers, type ShardAnswer } from '../../src/sharding/rebuild.ts';
import { verifyTables } from '../../src/sharding/verify-tables.ts';
import { build, leavesOf, makeWorld, rows, type World } from './world.ts';

const schema = `
CREATE TABLE countries (code text PRIMARY KEY);
CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
CREATE TABLE orders (customer_id int REFERENCES customers (id) ON DELETE CASCADE, id int, country text REFERENCES countries,
  PRIMARY KEY (customer_id, id)) PARTITION BY HASH (customer_id);
CREATE INDEX ON orders (country);
CREATE TABLE documents (id uuid PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE names (name text PRIMARY KEY) PARTITION BY HASH (name);
CREATE TABLE big (id bigint PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE events (day date, id int, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
CREATE TABLE codes (code varchar(10) PRIMARY KEY) PARTITION BY RANGE (code);
CREATE TABLE weather (origin text, hour int, PRIMARY KEY (origin, hour)) PARTITION BY LIST (origin);
CREATE TABLE visits (region text, user_id int, PRIMARY KEY (region, user_id)) PARTITION BY LIST (region);
CREATE TABLE accounts (tenant text, id int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);
CREATE TABLE invoices (tenant text, account int, id int, PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, account) REFERENCES accounts (tenant, id)) PARTITION BY LIST (tenant);
`;

const tables: Table[] = [
  { name: 'countries', strategy: 'reference' },
  { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 8 },
  { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
  { name: 'documents', strategy: 'hash', key: 'id', buckets: 7 },
  { name: 'names', strategy: 'hash', key: 'name', buckets: 16 },
  { name: 'big', strategy: 'hash', key: 'id', buckets: 5 },
  {
    name: 'events',
    strategy: 'range',
    key: 'day',
    bounds: [{ to: '2024-01-01' }, { from: '2024-01-01', to: '2025-01-01' }],
    defaultBucket: true,
  },
  {
    name: 'codes',
    strategy: 'range',
    key: 'code',
    bounds: [{ to: 'g' }, { from: 'g', to: 'p' }, { from: 'p' }],
  },
  {
    name: 'weather',
    strategy: 'geographic',
    key: 'origin',
    regions: [
      { name: 'jfk', values: ['JFK'], zones: ['a'] },
      { name: 'lga', values: ['LGA'], zones: ['b'] },
      { name: 'ewr', values: ['EWR', 'O\'Hare \\ "x"'], shards: ['s2'] },
    ],
  },
  {
    name: 'visits',
    strategy: 'geographic',
    key: 'region',
    hashKey: 'user_id',
    regions: [
      { name: 'eu', values: ['de', 'fr'], buckets: 4, shards: ['s0', 's1'] },
      { name: 'us', values: ['us'] },
    ],
  },
  {
    name: 'accounts',
    strategy: 'directory',
    key: 'tenant',
    group: 'tenant',
    buckets: 4,
    tenants: [{ value: 'acme', shard: 's1' }, { value: 'umbrella' }],
  },
  { name: 'invoices', strategy: 'directory', key: 'tenant', group: 'tenant' },
];

let world: World;
let layout: Layout;
let map: ShardMapSpec;

beforeAll(async () => {
  world = await makeWorld('leaves', 3);
  ({ layout, map } = await build(world, schema, tables, ['a', 'b', 'c']));
}, 120_000);
afterAll(() => world?.close());

/** Inserts a row on every shard in turn; answers the shards that took it. */
async function takers(text: string, ...values: unknown[]): Promise<string[]> {
  const taken: string[] = [];
  for (const shard of world.shards) {
    try {
      await rows(shard.application, text, ...values);
      taken.push(shard.name);
    } catch (error) {
      // No partition of relation found for row.
      expect(error).toMatchObject({ sqlstate: '23514' });
    }
  }
  return taken;
}

async function located(call: string, ...values: unknown[]): Promise<{ bucket: number; shard: string }[]> {
  const answers = await Promise.all(
    world.shards.map((shard) =>
      rows<{ bucket: number; shard: string }>(
        shard.application,
        `SELECT bucket, shard FROM herdsman.locate(${call})`,
        ...values,
      ),
    ),
  );
  const [first = []] = answers;
  for (const answer of answers) expect(answer).toEqual(first);
  return first;
}

/** Number of the bucket of the leaf that holds a row. */
async function bucketOfRow(shardName: string, table: string, where: string, ...values: unknown[]) {
  const shard = world.shards.find((candidate) => candidate.name === shardName);
  if (shard === undefined) throw new Error(`no shard ${shardName}`);
  const found = await rows<{ leaf: string }>(
    shard.application,
    `SELECT tableoid::regclass::text AS leaf FROM public.${table} WHERE ${where}`,
    ...values,
  );
  return Number(/_b([0-9]{4})$/.exec(found[0]?.leaf ?? '')?.[1] ?? -1);
}

describe('leaves on three shards', () => {
  it('agree with the tables of the spec', async () => {
    for (const shard of world.shards) {
      expect(verifyTables(layout, await readCatalog(shard.operator))).toEqual([]);
    }
  });

  it('need nothing more once they are there', async () => {
    for (const shard of world.shards) {
      expect(await leavesOf(world, shard, map, layout)).toEqual({ batches: [], problems: [] });
    }
  });

  it('are owned by the application, with a marker for each owned bucket and no other', async () => {
    for (const shard of world.shards) {
      const { tables: found, markers } = await readCatalog(shard.operator);
      expect(new Set(found.map((table) => table.owner))).toEqual(new Set([world.application]));
      expect(markers.map(({ bucket, epoch }) => ({ bucket, epoch }))).not.toContainEqual({
        bucket: null,
        epoch: null,
      });
      expect(markers.length).toBe(bucketsOf(map, shard.name).length);
    }
  });

  it.each([
    ['int', 'customers', 'id', (n: number) => n * 7919 - 300],
    ['bigint', 'big', 'id', (n: number) => String(9_007_199_254_740_993n * BigInt(n - 20))],
    ['text', 'names', 'name', (n: number) => `näme ${n}`],
    [
      'uuid',
      'documents',
      'id',
      (n: number) => `00000000-0000-4000-8000-${String(n * 7_654_321).padStart(12, '0')}`,
    ],
  ])('take a key of type %s on one shard only, where locate() says', async (type, table, key, make) => {
    const group = table === 'customers' ? 'customer' : table;
    for (let n = 0; n < 40; n += 1) {
      const value = make(n);
      const taken = await takers(`INSERT INTO public.${table} (${key}) VALUES ($1)`, value);
      expect(taken).toHaveLength(1);
      const answer = await located(`'${group}', $1::${type}`, value);
      const bucket = await bucketOfRow(taken[0] ?? '', table, `${key} = $1`, value);
      expect(answer).toEqual([{ bucket, shard: taken[0] }]);
    }
  });

  it.each([
    ['events', "'2023-12-31'::date", 0],
    ['events', "'2024-01-01'::date", 1],
    ['events', "'2024-12-31'::date", 1],
    ['events', "'2025-01-01'::date", 2],
    ['codes', "'g'", 1],
    ['codes', "'fzzzzzzzzz'", 0],
    ['codes', "'z'", 2],
    ['codes', "'Ö'", 2],
  ])('put a key of range table %s, %s, into bucket %i', async (table, value, bucket) => {
    const insert =
      table === 'events'
        ? `INSERT INTO public.events VALUES (${value}, 1)`
        : `INSERT INTO public.codes VALUES (${value})`;
    const taken = await takers(insert);
    expect(taken).toHaveLength(1);
    expect(await located(`'${table}', ${value}`)).toEqual([{ bucket, shard: taken[0] }]);
    const key = table === 'events' ? 'day' : 'code';
    expect(await bucketOfRow(taken[0] ?? '', table, `${key} = ${value}`)).toBe(bucket);
  });

  it.each([
    ['JFK', 's0'],
    ['LGA', 's1'],
    ['EWR', 's2'],
    ['O\'Hare \\ "x"', 's2'],
  ])('put region value %s on shard %s', async (origin, shard) => {
    expect(await takers('INSERT INTO public.weather VALUES ($1, 1)', origin)).toEqual([shard]);
    expect(await located("'weather', $1::text", origin)).toMatchObject([{ shard }]);
  });

  it('refuse a region that nobody listed', async () => {
    expect(await takers("INSERT INTO public.weather VALUES ('SFO', 1)")).toEqual([]);
    expect(await located("'weather', 'SFO'")).toEqual([]);
  });

  it('spread a region of several buckets by its second column', async () => {
    const seen = new Set<number>();
    for (let user = 0; user < 40; user += 1) {
      const taken = await takers('INSERT INTO public.visits VALUES ($1, $2)', 'fr', user);
      expect(taken).toHaveLength(1);
      const bucket = await bucketOfRow(taken[0] ?? '', 'visits', 'user_id = $1', user);
      expect(await located(`'visits', 'fr', ${user}`)).toEqual([{ bucket, shard: taken[0] }]);
      seen.add(bucket);
    }
    expect([...seen].sort()).toEqual([0, 1, 2, 3]);
    expect(await located("'visits', 'us'")).toMatchObject([{ bucket: 4 }]);
    const asked = rows(world.shard(0).application, "SELECT * FROM herdsman.locate('visits', 'de')");
    await expect(asked).rejects.toMatchObject({ hint: expect.stringContaining('user_id') });
  });

  it('keep a tenant of its own out of the DEFAULT of the other shards', async () => {
    for (const tenant of ['acme', 'umbrella', 'other', 'another', 'x', 'y', 'z']) {
      const taken = await takers('INSERT INTO public.accounts VALUES ($1, 1)', tenant);
      expect(taken).toHaveLength(1);
      const bucket = await bucketOfRow(taken[0] ?? '', 'accounts', 'tenant = $1', tenant);
      expect(await located("'tenant', $1::text", tenant)).toEqual([{ bucket, shard: taken[0] }]);
    }
    expect(await located("'tenant', 'acme'")).toEqual([{ bucket: 4, shard: 's1' }]);
  });

  it('enforce foreign keys inside a bucket and to reference tables', async () => {
    const [home] = await located("'customer', 7619");
    const shard = world.shards.find((candidate) => candidate.name === home?.shard);
    const app = shard?.application;
    if (app === undefined) throw new Error('7619 has no shard');
    await rows(app, "INSERT INTO public.countries VALUES ('de')");
    const order = (customer: number, id: number, country: string) =>
      rows(app, 'INSERT INTO public.orders VALUES ($1, $2, $3)', customer, id, country);
    await order(7619, 1, 'de');
    await expect(order(7619, 2, 'xx')).rejects.toMatchObject({ sqlstate: '23503' });
    await rows(app, 'INSERT INTO public.customers VALUES (-300) ON CONFLICT DO NOTHING').catch(
      () => undefined,
    );
    await expect(rows(app, "DELETE FROM public.countries WHERE code = 'de'")).rejects.toMatchObject({
      sqlstate: '23503',
    });
    await rows(app, 'DELETE FROM public.customers WHERE id = 7619');
    expect(await rows(app, 'SELECT FROM public.orders WHERE customer_id = 7619')).toEqual([]);
    await expect(order(7619, 3, 'de')).rejects.toMatchObject({ sqlstate: '23503' });
  });

  it('let a leaf with foreign keys be detached, since no key is on a parent', async () => {
    const shard = world.shard(0);
    const bucket = bucketsOf(map, 's0').find(({ group }) => group.name === 'customer')?.bucket.id ?? -1;
    const leaf = `orders_b${String(bucket).padStart(4, '0')}`;
    await shard.application.query({
      text: `BEGIN; ALTER TABLE public.orders DETACH PARTITION public.${leaf}; ROLLBACK`,
    });
  });

  /** The map with a bucket of s0 given to s1. */
  function mapWithOneGone(): ShardMapSpec {
    const groups = map.groups.map((group) => {
      if (group.name !== 'customer') return group;
      const gone = group.buckets.find((bucket) => bucket.shard === 's0');
      if (gone === undefined) throw new Error('s0 owns nothing');
      const buckets = group.buckets.map((bucket) =>
        bucket === gone ? { ...bucket, shard: 's1', epoch: 2 } : bucket,
      );
      return { ...group, buckets };
    });
    return { ...map, epoch: 2, groups };
  }

  it('report a leaf and a marker that the map gives to another shard, and drop neither', async () => {
    const plan = await leavesOf(world, world.shard(0), mapWithOneGone(), layout);
    expect(plan.problems.map((problem) => problem.code).sort()).toEqual([
      'stray-leaf',
      'stray-leaf',
      'stray-marker',
    ]);
    expect(JSON.stringify(plan.batches)).not.toMatch(/DROP|DETACH|DELETE/);
  });

  it('report a bucket that came to the shard and is not there, until somebody says that it is to be empty', async () => {
    const plan = await leavesOf(world, world.shard(1), mapWithOneGone(), layout);
    expect(plan.problems).toMatchObject([
      { code: 'lost-bucket', message: expect.stringContaining('from "s0"') },
    ]);
    const forget = plan.problems[0]?.message.match(/DELETE FROM .*$/)?.[0] ?? '';
    await world.shard(1).operator.query({ text: forget });
    expect(await leavesOf(world, world.shard(1), mapWithOneGone(), layout)).toMatchObject({ problems: [] });
    const before = await leavesOf(world, world.shard(1), map, layout);
    await applyBatches(world.shard(1).operator, before.batches);
  });

  it('change nothing under a map that is older than the data', async () => {
    const old = { ...map, epoch: 0 };
    const plan = await leavesOf(world, world.shard(0), old, layout);
    expect(plan.batches).toEqual([]);
    expect(plan.problems).toMatchObject([{ code: 'map-behind' }]);
  });

  it('are enough to make a lost map again', async () => {
    const answers = new Map<string, ShardAnswer>();
    for (const shard of world.shards) answers.set(shard.name, await readCatalog(shard.operator));
    const names = world.shards.map((shard) => shard.name);
    const rebuilt = rebuildFromMarkers('test', names, answers);
    const sorted = [...map.groups].sort((a, b) => a.name.localeCompare(b.name));
    expect(rebuilt).toMatchObject({ kind: 'rebuilt', map: { cluster: 'test', epoch: 2 } });
    if (rebuilt.kind !== 'rebuilt') return;
    expect([...rebuilt.map.groups].sort((a, b) => a.name.localeCompare(b.name))).toEqual(sorted);
    for (const shard of world.shards) {
      expect(await leavesOf(world, shard, rebuilt.map, layout)).toEqual({ batches: [], problems: [] });
    }
    answers.set('s1', 'unknown');
    expect(rebuildFromMarkers('test', names, answers)).toMatchObject({
      kind: 'refused',
      problems: [{ code: 'shard-silent' }],
    });
  });
});
