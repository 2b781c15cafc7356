import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { readShardLoad, readTopKeys, type ShardLoadStats } from '../../src/postgres/bucket-stats.ts';
import { addSamples, type LoadState, noLoad } from '../../src/sharding/rebalance/load.ts';
import { sharedPostgres } from '../support/shared-postgres.ts';
import { waitFor } from '../support/wait.ts';
import { build, makeWorld, open, rows, type TestShard, type World } from './world.ts';

const sql = `
  CREATE TABLE customers (id int PRIMARY KEY, note text) PARTITION BY HASH (id);
  CREATE TABLE orders (customer_id int, id int, PRIMARY KEY (customer_id, id)) PARTITION BY HASH (customer_id);
  CREATE TABLE accounts (tenant text, id int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);
  CREATE TABLE weather (origin text, id int, PRIMARY KEY (origin, id)) PARTITION BY LIST (origin);
  CREATE TABLE countries (id int PRIMARY KEY)`;
const tables: Table[] = [
  { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 4 },
  { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
  {
    name: 'accounts',
    strategy: 'directory',
    key: 'tenant',
    buckets: 2,
    tenants: [{ value: 'acme', shard: 's1' }],
  },
  {
    name: 'weather',
    strategy: 'geographic',
    key: 'origin',
    hashKey: 'id',
    regions: [{ name: 'east', values: ['JFK'], buckets: 2, shards: ['s0'] }],
  },
  { name: 'countries', strategy: 'reference' },
];

let world: World;
let shard: TestShard;

beforeAll(async () => {
  world = await makeWorld('bucket_stats', 2);
  await build(world, sql, tables);
  shard = world.shard(0);
}, 60_000);
afterAll(() => world?.close());

function named(stats: ShardLoadStats): string[] {
  return stats.buckets.map(({ group, id }) => `${group}/${id}`);
}

function bucketOf(stats: ShardLoadStats, group: string, id: number) {
  const found = stats.buckets.find((bucket) => bucket.group === group && bucket.id === id);
  if (found === undefined) throw new Error(`no bucket ${group}/${id} among ${named(stats)}`);
  return found;
}

/** A session's counts reach the server's statistics when it has been idle for a moment: asks until they are there. */
async function statsWhen(isThere: (stats: ShardLoadStats) => boolean): Promise<ShardLoadStats> {
  return waitFor('the counts are there', async () => {
    await rows(shard.application, 'SELECT pg_stat_force_next_flush()');
    const stats = await readShardLoad(shard.operator);
    return isThere(stats) ? { done: stats } : { state: stats };
  });
}

describe('load of buckets, as PostgreSQL counts it', () => {
  it('is that of the buckets that the shard owns, without those of other shards and reference tables', async () => {
    const stats = await readShardLoad(shard.operator);
    expect(stats).toMatchObject({ inRecovery: false, maxConnections: expect.any(Number) });
    expect(named(stats)).toEqual(
      expect.arrayContaining(['customer/0', 'customer/2', 'weather/0', 'weather/1']),
    );
    expect(named(stats)).not.toContain('accounts/2');
    expect(named(await readShardLoad(world.shard(1).operator))).toContain('accounts/2');
    const all = [...named(stats), ...named(await readShardLoad(world.shard(1).operator))];
    expect(new Set(all).size).toBe(all.length);
    expect(all).toHaveLength(9);
  });

  it('counts reads and writes of all tables of a group, and their size', async () => {
    const before = await readShardLoad(shard.operator);
    const [row] = await rows<{ id: number }>(
      shard.application,
      `SELECT id FROM generate_series(1, 1000) id
        WHERE satisfies_hash_partition('public.customers'::regclass, 4, 0, id) LIMIT 1`,
    );
    const id = row?.id ?? 0;
    await rows(shard.application, `INSERT INTO public.customers VALUES (${id}, repeat('x', 100))`);
    await rows(shard.application, `INSERT INTO public.orders SELECT ${id}, n FROM generate_series(1, 999) n`);
    await rows(
      shard.application,
      `UPDATE public.orders SET id = id + 10000 WHERE customer_id = ${id} AND id <= 500`,
    );
    await rows(shard.application, `DELETE FROM public.orders WHERE customer_id = ${id} AND id > 10400`);
    const written = (stats: ShardLoadStats) =>
      bucketOf(stats, 'customer', 0).writes - bucketOf(before, 'customer', 0).writes;
    const after = await statsWhen((stats) => written(stats) >= 1600);
    expect(written(after)).toBe(1600);
    expect(bucketOf(after, 'customer', 2)).toMatchObject({ writes: 0 });
    expect(bucketOf(after, 'customer', 0).bytes).toBeGreaterThan(bucketOf(after, 'customer', 2).bytes);
    expect(after.databaseBytes).toBeGreaterThan(bucketOf(after, 'customer', 0).bytes);
    expect(after.usedBytes).toBeGreaterThan(after.databaseBytes);
    await rows(shard.application, 'SELECT count(note) FROM public.customers');
    await rows(shard.application, 'SELECT count(id) FROM public.orders');
    const reads = (stats: ShardLoadStats) =>
      bucketOf(stats, 'customer', 0).reads - bucketOf(after, 'customer', 0).reads;
    expect(reads(await statsWhen((stats) => reads(stats) >= 900))).toBe(900);
  });

  it('counts transactions, time and sessions of the shard', async () => {
    const before = await readShardLoad(shard.operator);
    await rows(shard.application, 'SELECT pg_sleep(0.05)');
    for (let n = 0; n < 10; n += 1) await rows(shard.application, 'SELECT 1');
    const after = await statsWhen(
      (stats) => stats.activeMs - before.activeMs >= 50 && stats.transactions - before.transactions >= 10,
    );
    expect(after.connections).toBe(1);
    expect(after.incarnation).toBe(before.incarnation);
  });

  it('starts anew, recognisably, when somebody resets the statistics', async () => {
    const superuser = await open('postgres', sharedPostgres().password, shard.database);
    const measure = (state: LoadState, stats: ShardLoadStats, atMs: number) =>
      addSamples(state, new Map([['s0', { ...stats, atMs }]]), 1_000);
    try {
      let before = await readShardLoad(shard.operator);
      expect(bucketOf(before, 'customer', 0).writes).toBeGreaterThan(0);
      let state = measure(noLoad, before, 0);
      const one = "SELECT pg_stat_reset_single_table_counters('public.orders_b0000'::regclass)";
      for (const [index, reset] of [one, 'SELECT pg_stat_reset()'].entries()) {
        await superuser.query({ text: reset });
        const after = await readShardLoad(shard.operator);
        // PostgreSQL notes the reset of one table for the whole database, too.
        expect(after.incarnation).not.toBe(before.incarnation);
        expect(bucketOf(after, 'customer', 0).writes).toBeLessThan(2);
        state = measure(state, after, (index + 1) * 1_000);
        expect(state.rates).toEqual({});
        before = after;
      }
    } finally {
      await superuser.close();
    }
  });

  it('waits for nobody who has a table locked', async () => {
    const locker = world.shard(0).application;
    await rows(locker, 'BEGIN; LOCK TABLE public.customers_b0000 IN ACCESS EXCLUSIVE MODE');
    try {
      await expect(readShardLoad(shard.operator)).rejects.toMatchObject({ sqlstate: '55P03' });
    } finally {
      await rows(locker, 'ROLLBACK');
    }
    expect(named(await readShardLoad(shard.operator))).toContain('customer/0');
  });

  it('tells what moves leave behind, without waiting for who builds its key', async () => {
    const before = await readShardLoad(shard.operator);
    const parts = 'PARTITION BY HASH (customer_id)';
    const into = 'FOR VALUES WITH (MODULUS 1, REMAINDER 0)';
    // Retired, being copied, and on its way through the table that a split is copied into.
    const left = ['hm_0a1b2c3d_old_0', 'customers_b0001', 'orders_b0003'];
    await rows(
      shard.application,
      `CREATE TABLE public.${left[0]} AS SELECT n FROM generate_series(1, 10000) n;
        CREATE TABLE public.${left[1]} (LIKE public.customers INCLUDING ALL);
        ${left
          .slice(0, 2)
          .map((name) => `ALTER TABLE public.${name} SET (autovacuum_enabled = off);`)
          .join(' ')}
        INSERT INTO public.${left[1]} SELECT n, repeat('x', 3000) FROM generate_series(1, 1000) n;
        CREATE TABLE public.orders_b0001 (LIKE public.orders) ${parts};
        CREATE TABLE public.${left[2]} PARTITION OF public.orders_b0001 ${into} WITH (autovacuum_enabled = off);
        INSERT INTO public.orders_b0001 SELECT n, n FROM generate_series(1, 10000) n;
        CREATE TABLE public.hm_notes_old_0 AS SELECT n FROM generate_series(1, 10000) n`,
    );
    const [size] = await rows<{ bytes: number }>(
      shard.operator,
      `SELECT sum(pg_total_relation_size(format('public.%I', name)::regclass))::float8 AS bytes
        FROM unnest($1::text[]) name`,
      left,
    );
    const after = await readShardLoad(shard.operator);
    expect(size?.bytes).toBeGreaterThan(500_000);
    expect((after.leftBytes ?? 0) - (before.leftBytes ?? 0)).toBe(size?.bytes);
    expect(after.databaseBytes - before.databaseBytes).toBeGreaterThan(size?.bytes ?? 0);
    expect(named(after)).toEqual(named(before));
    for (const name of left) {
      await rows(shard.application, `BEGIN; LOCK TABLE public.${name} IN ACCESS EXCLUSIVE MODE`);
      try {
        expect((await readShardLoad(shard.operator)).leftBytes).toBeNull();
      } finally {
        await rows(shard.application, 'ROLLBACK');
      }
    }
    const drop = [left[0], left[1], 'orders_b0001', 'hm_notes_old_0'].map((name) => `public.${name}`);
    await rows(shard.application, `DROP TABLE ${drop.join(', ')}`);
    expect(await readShardLoad(shard.operator)).toMatchObject({ leftBytes: before.leftBytes });
  });

  it('finds the key with most rows', async () => {
    const other = world.shard(1);
    const owner = named(await readShardLoad(other.operator)).includes('accounts/0') ? other : shard;
    const [tenants] = await rows<{ names: string[] }>(
      owner.application,
      `SELECT array_agg(t) AS names FROM (SELECT 'tenant ' || n AS t FROM generate_series(1, 1000) n
        WHERE satisfies_hash_partition('public.accounts_default'::regclass, 2, 0, 'tenant ' || n) LIMIT 3) s`,
    );
    const [big, ...small] = tenants?.names ?? [];
    await rows(
      owner.application,
      `INSERT INTO public.accounts SELECT $1, n FROM generate_series(1, 600) n`,
      big,
    );
    for (const name of small) {
      await rows(
        owner.application,
        `INSERT INTO public.accounts SELECT $1, n FROM generate_series(1, 200) n`,
        name,
      );
    }
    const bucket = { group: 'accounts', id: 0 };
    expect(await readTopKeys(owner.operator, [bucket])).toEqual([]);
    await rows(owner.application, 'ANALYZE public.accounts_b0000');
    expect(await readTopKeys(owner.operator, [bucket, { group: 'accounts', id: 9 }])).toEqual([
      { ...bucket, value: big, share: expect.closeTo(0.6, 1) },
    ]);
  });
});
