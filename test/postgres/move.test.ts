import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Step } from '../../src/sharding/move/model.ts';
import { leafName } from '../../src/sharding/names.ts';
import {
  type MoveOptions,
  type MoveShards,
  planMove,
  startShards,
  type TestMove,
} from '../support/move-world.ts';
import { startWriters } from '../support/move-writers.ts';

const sql = `
  CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
  CREATE INDEX ON customers (name);
  CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, PRIMARY KEY (customer_id, id))
    PARTITION BY HASH (customer_id)`;
const bucket = 0;
const leaf = `public.${leafName('orders', bucket)}`;

let shards: MoveShards;
let customers: number[] = [];
beforeAll(async () => {
  shards = await startShards(sql, [
    { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 4 },
    { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
  ]);
  const app = await shards.connectApplication('s0');
  const rows = await app.query<{ id: number }>({
    text: `INSERT INTO public.customers SELECT n, 'c' || n FROM generate_series(1, 400) n
      WHERE satisfies_hash_partition('public.customers'::regclass, 4, ${bucket}, n) RETURNING id`,
  });
  customers = rows.map(({ id }) => id);
  await app.query({ text: `INSERT INTO public.orders SELECT id, 0, id FROM public.customers` });
  await app.close();
});
afterAll(() => shards?.stop());

function ownerOf(): string {
  return shards.map.current.value.groups[0]?.buckets[bucket]?.shard ?? '';
}

/** Plans a move of the bucket from where it is to the other shard. */
function plan(options: MoveOptions = {}): TestMove {
  const from = ownerOf();
  return planMove(shards, { bucket, from, to: from === 's0' ? 's1' : 's0', retentionMs: 0, ...options });
}

/** Runs one operator to the end, or until it crashes; then another one to the end. */
async function finish(test: TestMove, crashesAfter?: Step['kind']): Promise<void> {
  if (crashesAfter !== undefined) {
    const first = test.operator(crashesAfter);
    await expect(first.run()).rejects.toThrow();
    await first.close();
    // The cluster's own reconciling keeps its hands off, whatever it sees; it does not wait for what is fenced.
    for (const shard of [test.move.from, test.move.to]) {
      expect(await shards.planOf(shard)).toEqual({ batches: [], problems: [] });
    }
  }
  const operator = test.operator();
  await operator.run();
  await operator.close();
}

/** What a move made and did not take away, on any shard. */
async function debris(): Promise<unknown[]> {
  const found = await Promise.all(
    ['s0', 's1'].map((shard) =>
      shards.rows(
        shard,
        `SELECT 'prepared ' || gid AS thing FROM pg_prepared_xacts
          UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots
          UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
          UNION ALL SELECT 'publication ' || pubname FROM pg_publication
          UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'hm%'
          UNION ALL SELECT 'guard ' || move FROM herdsman.moves
          UNION ALL SELECT 'sentinel ' || token FROM herdsman.move_sentinels
          UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin
          UNION ALL SELECT 'option of ' || oid::regclass FROM pg_class WHERE reloptions IS NOT NULL AND relnamespace = 'public'::regnamespace
          UNION ALL SELECT 'check ' || conname FROM pg_constraint WHERE conname LIKE 'herdsman%'
          UNION ALL SELECT 'trigger on ' || tgrelid::regclass FROM pg_trigger WHERE tgname LIKE 'herdsman%'
          UNION ALL SELECT 'table ' || oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace
            AND relkind = 'r' AND NOT relispartition`,
      ),
    ),
  );
  const markers = await Promise.all(
    ['s0', 's1'].map((shard) =>
      shards.rows(shard, "SELECT to_regclass('own.customer_b0000') IS NOT NULL AS marker"),
    ),
  );
  const owners = ['s0', 's1'].filter((_, index) => markers[index]?.[0]?.marker === true);
  return [...found.flat(), ...(owners.join() === ownerOf() ? [] : [`markers on ${owners.join()}`])];
}

async function content(): Promise<Record<string, unknown>[]> {
  return shards.rows(
    ownerOf(),
    `SELECT customer_id, id, amount FROM public.orders WHERE tableoid = '${leaf}'::regclass ORDER BY 1, 2`,
  );
}

afterEach(async () => {
  expect(await debris()).toEqual([]);
  expect(shards.map.current.value.groups[0]?.buckets[bucket]?.pending).toBeUndefined();
  // The map, the markers, the leaves and the mirrors agree, so that there is nothing to do.
  await shards.reconcile();
});

describe('a move under writers', () => {
  it.each(['READ COMMITTED', 'REPEATABLE READ'] as const)(
    'loses and doubles nothing (%s)',
    async (isolation) => {
      const before = await content();
      const writers = startWriters(shards, customers, { writers: 6, isolation });
      const moved: TestMove[] = [];
      for (let round = 0; round < 4; round += 1) {
        const test = plan();
        await finish(test);
        expect(test.record.current.value).toMatchObject({ phase: 'done', failures: 0 });
        moved.push(test);
      }
      const report = await writers.stop();
      expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
      expect(report.redirected).toBeGreaterThan(0);
      const rows = (await content()).filter((row) => row.id !== 0);
      const found = rows.map((row) => ({ key: `${row.customer_id}/${row.id}`, value: Number(row.amount) }));
      expect(report.ledger.judge(found)).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
      expect((await content()).filter((row) => row.id === 0)).toEqual(before.filter((row) => row.id === 0));
      const fences = moved.map((test) => Math.round(fencedMs(test)));
      process.stdout.write(
        `moves under writers, ${isolation}: ${report.acknowledged} commits, fenced ${fences.join(', ')} ms, ` +
          `longest gap ${Math.round(report.longestGapMs)} ms\n`,
      );
      await shards.rows(ownerOf(), 'DELETE FROM public.orders WHERE id <> 0');
    },
  );
});

/** From the fence to the commit on the source. */
function fencedMs(test: TestMove): number {
  const names = ['fence', 'drain', 'open', 'gate', 'decide', 'commit-target', 'commit-source'];
  return test.steps
    .filter(({ step, result }) => names.includes(step.kind) && result !== 'unknown' && result.kind === 'done')
    .reduce((sum, { tookMs }) => sum + tookMs, 0);
}

const early = [
  'stage',
  'publish',

  'copy-rows',
  'subscribe',
  'catch-up',
  'index',
  'verify',
  'arm',
  'announce',
  'fence',
  'drain',
  'open',
  'gate',
] as const;
const late = [
  'decide',
  'commit-target',
  'commit-source',
  'unsubscribe',
  'settle',
  'detach',
  'retire',
  'unpublish',
  'forget',
  'drop-retired',
] as const;

it('a move of several buckets changes their owner together, and back', async () => {
  const first = ownerOf();
  const shardsOf = (ids: readonly number[]) =>
    (shards.map.current.value.groups[0]?.buckets ?? [])
      .filter(({ id }) => ids.includes(id))
      .map(({ shard }) => shard);
  const parents = (shards.map.current.value.groups[0]?.buckets ?? [])
    .filter(({ shard }) => shard === first)
    .map(({ shard: _shard, epoch: _epoch, pending: _pending, ...bound }) => bound);
  const ids = parents.map(({ id }) => id);
  expect(ids.length).toBeGreaterThan(1);
  const before = await content();
  for (const crashesAfter of ['open', undefined] as const) {
    const test = plan({ parents, children: parents });
    await finish(test, crashesAfter);
    expect(test.record.current.value).toMatchObject({ phase: 'done' });
    expect(new Set(shardsOf(ids))).toEqual(new Set([test.move.to]));
    expect(await content()).toEqual(before);
    await shards.reconcile();
  }
  expect(ownerOf()).toBe(first);
});

describe('a crash', () => {
  it.each([...early, ...late])('after "%s" is made good by the next operator', async (kind) => {
    const before = await content();
    const from = ownerOf();
    const test = plan();
    await finish(test, kind);
    expect(test.record.current.value.phase).toBe('done');
    expect(ownerOf()).not.toBe(from);
    expect(await content()).toEqual(before);
  });
});

describe('a cancelled move', () => {
  it.each(early)('leaves no trace after "%s"', async (kind) => {
    const before = await content();
    const from = ownerOf();
    const test = plan();
    const operator = test.operator(kind);
    await expect(operator.run()).rejects.toThrow();
    await operator.close();
    test.move = { ...test.move, cancel: true };
    await finish(test);
    expect(test.record.current.value.phase).toBe('cancelled');
    expect(ownerOf()).toBe(from);
    expect(await content()).toEqual(before);
    await shards.rows(from, `UPDATE public.orders SET amount = amount WHERE id = 0`);
  });

  it.each(late)('goes on after "%s": the map has decided', async (kind) => {
    const from = ownerOf();
    const test = plan();
    const operator = test.operator(kind);
    await expect(operator.run()).rejects.toThrow();
    await operator.close();
    test.move = { ...test.move, cancel: true };
    await finish(test);
    expect(test.record.current.value.phase).toBe('done');
    expect(ownerOf()).not.toBe(from);
  });
});
