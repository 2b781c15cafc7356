import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Bound, Bucket, BucketBound } from '../../src/api/v1alpha1/shard-map.ts';
import { keyInside, medianKey } from '../../src/postgres/move/key.ts';
import { nextBucketId } from '../../src/sharding/bucket-ids.ts';
import type { Step } from '../../src/sharding/move/model.ts';
import {
  isolateTenant,
  mergeBounds,
  type Reshaped,
  splitHash,
  splitRange,
} from '../../src/sharding/reshape.ts';
import { type MoveShards, planMove, startShards, type TestMove } from '../support/move-world.ts';
import { startWriters } from '../support/move-writers.ts';

const sql = `
  CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
  CREATE INDEX ON customers (name);
  CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, twice int GENERATED ALWAYS AS (amount * 2) STORED,
    PRIMARY KEY (customer_id, id)) PARTITION BY HASH (customer_id);
  CREATE TABLE events (at date, id int, note text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
  CREATE TABLE accounts (tenant text, id int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);
  CREATE TABLE longs (key bigint PRIMARY KEY) PARTITION BY HASH (key);
  CREATE TABLE words (key text PRIMARY KEY) PARTITION BY HASH (key);
  CREATE TABLE names (key uuid PRIMARY KEY) PARTITION BY HASH (key);
  CREATE TABLE spans (at int PRIMARY KEY) PARTITION BY RANGE (at)`;

let shards: MoveShards;
let customers: number[] = [];
beforeAll(async () => {
  shards = await startShards(sql, [
    { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 4 },
    { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
    { name: 'events', strategy: 'range', key: 'at', bounds: [{ to: '2026-01-01' }, { from: '2026-01-01' }] },
    { name: 'accounts', strategy: 'directory', key: 'tenant', buckets: 2, tenants: [{ value: 'big' }] },
    {
      name: 'spans',
      strategy: 'range',
      key: 'at',
      bounds: [
        { from: '0', to: '10' },
        { from: '10', to: '20' },
      ],
      defaultBucket: true,
    },
    ...['longs', 'words', 'names'].map((name) => ({
      name,
      strategy: 'hash' as const,
      key: 'key',
      buckets: 4,
    })),
  ]);
  const app = await shards.connectApplication('s0');
  const rows = await app.query<{ id: number }>({
    text: `INSERT INTO public.customers SELECT n, 'c' || n FROM generate_series(1, 400) n
      WHERE satisfies_hash_partition('public.customers'::regclass, 4, 0, n) RETURNING id`,
  });
  customers = rows.map(({ id }) => id);
  await app.query({ text: `INSERT INTO public.orders SELECT id, 0, id FROM public.customers` });
  await app.query({
    text: "INSERT INTO public.events SELECT '2025-01-01'::date + n, n, 'e' FROM generate_series(0, 299) n",
  });
  await app.close();
});
afterAll(() => shards?.stop());

function bucketsOf(group: string): readonly Bucket[] {
  return shards.map.current.value.groups.find(({ name }) => name === group)?.buckets ?? [];
}

/** Plans to put other buckets into the place of some, on the other shard. */
function plan(
  group: string,
  ids: readonly number[],
  reshape: (parents: BucketBound[]) => Reshaped,
): TestMove {
  const owned = bucketsOf(group).filter(({ id }) => ids.includes(id));
  const parents = owned.map(({ shard: _, epoch: __, pending: ___, ...bound }) => bound);
  const reshaped = reshape(parents);
  if (reshaped.kind === 'refused') throw new Error(reshaped.problem.message);
  const first = nextBucketId({ buckets: [...bucketsOf(group)] });
  const children = reshaped.bounds.map((bound: Bound, index) => ({ id: first + index, ...bound }));
  const from = owned[0]?.shard ?? '';
  return planMove(shards, {
    group,
    parents,
    children,
    from,
    to: from === 's0' ? 's1' : 's0',
    retentionMs: 0,
  });
}

const split = (id: number, parts = 2) =>
  plan('customer', [id], ([parent]) => splitHash(parent ?? { id }, parts));
const merge = (group: string, ids: readonly number[]) => plan(group, ids, mergeBounds);

/** Buckets that are parts of the one with remainder 0 of 4. */
function parts(): number[] {
  return bucketsOf('customer')
    .filter(({ hash }) => (hash?.remainder ?? 1) % 4 === 0)
    .map(({ id }) => id);
}

async function finish(test: TestMove, crashesAfter?: Step['kind']): Promise<void> {
  if (crashesAfter !== undefined) {
    const first = test.operator(crashesAfter);
    await expect(first.run()).rejects.toThrow();
    await first.close();
    // A prepared transaction keeps the catalog of its side from being read: bounds that it changes, markers that it drops.
    const isFenced = ['fence', 'drain', 'open', 'gate', 'decide', 'commit-target'].includes(crashesAfter);
    const isOpen = ['open', 'gate', 'decide'].includes(crashesAfter);
    for (const shard of [...(isFenced ? [] : [test.move.from]), ...(isOpen ? [] : [test.move.to])]) {
      expect(await shards.planOf(shard)).toEqual({ batches: [], problems: [] });
    }
  }
  const operator = test.operator();
  await operator.run();
  await operator.close();
}

/** What is left of moves on the shards, and markers that the map does not know. */
async function debris(): Promise<unknown[]> {
  const owned = shards.map.current.value.groups.flatMap(({ name, buckets }) =>
    buckets.map(({ id, shard }) => `${shard} ${name}_b${String(id).padStart(4, '0')}`),
  );
  const found = await Promise.all(
    ['s0', 's1'].map((shard) =>
      shards.rows<{ thing: string }>(
        shard,
        `SELECT 'prepared ' || gid AS thing FROM pg_prepared_xacts
          UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots
          UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
          UNION ALL SELECT 'publication ' || pubname FROM pg_publication
          UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'hm%'
          UNION ALL SELECT 'guard ' || move FROM herdsman.moves
          UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
          UNION ALL SELECT 'option of ' || oid::regclass FROM pg_class WHERE reloptions IS NOT NULL AND relnamespace = 'public'::regnamespace
          UNION ALL SELECT 'check ' || conname FROM pg_constraint WHERE conname LIKE 'herdsman%'
          UNION ALL SELECT 'table ' || oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace
            AND relkind IN ('r', 'p') AND NOT relispartition AND relname !~ '^(customers|orders|events|accounts|spans|longs|words|names)$'
          UNION ALL SELECT 'mirror ' || bucket FROM herdsman.shard_map m
            WHERE to_jsonb(m) ->> 'epoch' IS NULL`,
      ),
    ),
  );
  const markers = await Promise.all(
    ['s0', 's1'].map(async (shard) =>
      (await shards.rows<{ name: string }>(shard, 'SELECT name FROM herdsman.markers()')).map(
        ({ name }) => `${shard} ${name}`,
      ),
    ),
  );
  expect(markers.flat().sort()).toEqual(owned.sort());
  return found.flat().map(({ thing }) => thing);
}

/** All rows of a query, on whatever shard they are. */
async function everywhere(text: string): Promise<Record<string, unknown>[]> {
  return (await Promise.all(['s0', 's1'].map((shard) => shards.rows(shard, text)))).flat();
}

const orders = () =>
  everywhere(`SELECT customer_id, id, amount, twice FROM public.orders WHERE customer_id % 1 = 0`).then(
    (rows) =>
      rows.sort((a, b) => Number(a.customer_id) - Number(b.customer_id) || Number(a.id) - Number(b.id)),
  );

afterEach(async () => {
  await shards.reconcile();
  expect(await debris()).toEqual([]);
  // Nothing is to be done for the new set of buckets.
  for (const shard of ['s0', 's1']) expect(await shards.planOf(shard)).toEqual({ batches: [], problems: [] });
});

describe('under writers', () => {
  it.each(['READ COMMITTED', 'REPEATABLE READ'] as const)(
    'splits and merges lose and double nothing (%s)',
    async (isolation) => {
      const writers = startWriters(shards, customers, { writers: 6, isolation });
      for (const part of [2, 4]) {
        await finish(split(parts()[0] ?? -1, part));
        expect(parts()).toHaveLength(part);
        await finish(merge('customer', parts()));
        expect(parts()).toHaveLength(1);
      }
      const report = await writers.stop();
      expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
      expect(report.redirected).toBeGreaterThan(0);
      const rows = (await orders()).filter((row) => row.id !== 0);
      const found = rows.map((row) => ({ key: `${row.customer_id}/${row.id}`, value: Number(row.amount) }));
      expect(report.ledger.judge(found)).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
      process.stdout.write(
        `splits and merges under writers, ${isolation}: ${report.acknowledged} commits, longest gap ${Math.round(report.longestGapMs)} ms\n`,
      );
      const [owner] = bucketsOf('customer').filter(({ id }) => id === parts()[0]);
      await shards.rows(owner?.shard ?? '', 'DELETE FROM public.orders WHERE id <> 0');
    },
  );
});

const steps = [
  'stage',
  'subscribe',
  'index',
  'verify',
  'announce',
  'fence',
  'drain',
  'open',
  'gate',
  'decide',
  'commit-target',
  'commit-source',
  'unsubscribe',
  'settle',
  'detach',
  'forget',
] as const;

describe('a crash', () => {
  it.each(steps)('after "%s" of a split and of a merge is made good by the next operator', async (kind) => {
    const before = await orders();
    await finish(split(parts()[0] ?? -1), kind);
    expect(parts()).toHaveLength(2);
    expect(await orders()).toEqual(before);
    await finish(merge('customer', parts()), kind);
    expect(parts()).toHaveLength(1);
    expect(await orders()).toEqual(before);
  });
});

/** Every row of a table, with the bucket whose leaf it is in. */
async function placed(table: string, key: string): Promise<Map<string, string>> {
  const found = await Promise.all(
    ['s0', 's1'].map(async (shard) => {
      const rows = await shards.rows<{ key: string; id: string; leaf: string }>(
        shard,
        `SELECT ${key}::text AS key, to_jsonb(t)::text AS id, t.tableoid::regclass::text AS leaf FROM public.${table} t`,
      );
      return rows.map((row) => ({ ...row, shard }));
    }),
  );
  const all = found.flat();
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
  return new Map(all.map(({ key, id, shard, leaf }) => [id, `${key} ${shard} ${Number(leaf.slice(-4))}`]));
}

/** Compares where rows are with what every shard's locate() says. */
async function expectLocated(group: string, key: string): Promise<void> {
  const rows = new Set((await placed(group, key)).values());
  for (const shard of ['s0', 's1']) {
    const found = await shards.rows<{ row: string }>(
      shard,
      `SELECT concat_ws(' ', k, shard, bucket) AS row FROM unnest(ARRAY[${[...rows].map((row) => `'${row.split(' ')[0]}'`).join(', ')}]) k,
        herdsman.locate('${group}', k)`,
    );
    expect(new Set(found.map(({ row }) => row))).toEqual(rows);
  }
}

/** Inserts on whatever shard takes the row; exactly one does. */
async function insert(text: string): Promise<void> {
  const results = await Promise.allSettled(['s0', 's1'].map((shard) => shards.rows(shard, text)));
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
}

function away(group: string, id: number): TestMove {
  const owned = bucketsOf(group).find((bucket) => bucket.id === id);
  const from = owned?.shard ?? '';
  return planMove(shards, { group, bucket: id, from, to: from === 's0' ? 's1' : 's0', retentionMs: 0 });
}

describe('a range', () => {
  it('is split at its median, and merged again', async () => {
    const group = shards.layout.groups.find(({ name }) => name === 'events');
    const [first] = bucketsOf('events');
    if (group === undefined || first === undefined) throw new Error('no range');
    const operator = await shards.connectOperator(first.shard);
    const at = await medianKey(operator, group, first);
    expect(at).toBe('2025-05-30');
    const range = { to: '2026-01-01' };
    await expect(keyInside(operator, group, range, 'never')).rejects.toThrow('invalid input syntax');
    expect(await keyInside(operator, group, range, '2026-02-01')).toBeUndefined();
    expect(await keyInside(operator, group, range, 'Feb 3, 2025')).toBe('2025-02-03');
    await operator.close();
    const before = new Set((await placed('events', 'at')).keys());
    await finish(plan('events', [0], ([parent]) => splitRange(parent ?? { id: 0 }, at ?? '')));
    expect(bucketsOf('events').map((bucket) => bucket.range)).toEqual([
      { from: '2026-01-01' },
      { to: '2025-05-30' },
      { from: '2025-05-30', to: '2026-01-01' },
    ]);
    await expectLocated('events', 'at');
    const sizes = [...(await placed('events', 'at')).values()].map((row) => row.split(' ')[2]);
    expect([2, 3].map((id) => sizes.filter((size) => size === String(id)).length)).toEqual([149, 151]);
    await finish(merge('events', [2, 3]));
    expect(new Set((await placed('events', 'at')).keys())).toEqual(before);
    await expectLocated('events', 'at');
  });

  it('that holds one key has no median', async () => {
    const group = shards.layout.groups.find(({ name }) => name === 'events');
    const bucket = bucketsOf('events').find(({ range }) => range?.from === '2026-01-01');
    if (group === undefined || bucket === undefined) throw new Error('no range');
    await shards.rows(
      bucket.shard,
      "INSERT INTO public.events SELECT '2027-01-01', n, '' FROM generate_series(1, 9) n",
    );
    const operator = await shards.connectOperator(bucket.shard);
    expect(await medianKey(operator, group, bucket)).toBeUndefined();
    await operator.close();
  });
});

describe('beside a DEFAULT', () => {
  const tenants = ['big', ...Array.from({ length: 12 }, (_, n) => `t${n}`)];
  const home = async (tenant: string) => {
    const text = `SELECT bucket FROM herdsman.locate('accounts', '${tenant}')`;
    return (await shards.rows<{ bucket: number }>('s0', text))[0]?.bucket ?? -1;
  };
  const isolate = async (tenant: string) => {
    const id = await home(tenant);
    return plan('accounts', [id], ([parent]) => isolateTenant(parent ?? { id }, tenant));
  };

  it('a tenant is isolated, and it and the others go where they are moved', async () => {
    for (const tenant of tenants) {
      await insert(`INSERT INTO public.accounts SELECT '${tenant}', n FROM generate_series(1, 20) n`);
    }
    const before = new Set((await placed('accounts', 'tenant')).keys());
    for (const tenant of ['t3', 't4']) {
      await finish(await isolate(tenant));
      await shards.reconcile();
      await expectLocated('accounts', 'tenant');
      const own = bucketsOf('accounts').find(({ values }) => values?.[0] === tenant);
      expect(await home(tenant)).toBe(own?.id);
    }
    // All of them to the other shard, one after the other.
    for (const { id } of bucketsOf('accounts')) {
      await finish(away('accounts', id));
      await expectLocated('accounts', 'tenant');
      for (const tenant of tenants) await insert(`INSERT INTO public.accounts VALUES ('${tenant}', 100)`);
      for (const shard of ['s0', 's1'])
        await shards.rows(shard, 'DELETE FROM public.accounts WHERE id = 100');
    }
    expect(new Set((await placed('accounts', 'tenant')).keys())).toEqual(before);
  });

  it.each(['stage', 'index', 'verify', 'fence', 'open'] as const)(
    'an isolation that is cancelled after "%s" leaves nothing',
    async (kind) => {
      const before = await placed('accounts', 'tenant');
      const test = await isolate('t5');
      const operator = test.operator(kind);
      await expect(operator.run()).rejects.toThrow();
      await operator.close();
      test.move = { ...test.move, cancel: true };
      await finish(test);
      expect(test.record.current.value.phase).toBe('cancelled');
      expect(await placed('accounts', 'tenant')).toEqual(before);
    },
  );

  it('ranges and the DEFAULT itself are moved', async () => {
    for (const key of [-5, 3, 15, 99]) await insert(`INSERT INTO public.spans VALUES (${key})`);
    for (const id of [0, 2, 1, 2]) {
      await finish(away('spans', id));
      await expectLocated('spans', 'at');
      for (const key of [-6, 4, 16, 98]) await insert(`INSERT INTO public.spans VALUES (${key})`);
      for (const shard of ['s0', 's1']) {
        await shards.rows(shard, 'DELETE FROM public.spans WHERE at IN (-6, 4, 16, 98)');
      }
    }
    expect([...(await placed('spans', 'at')).values()]).toHaveLength(4);
  });
});

describe('keys of every type', () => {
  const random = { longs: 'hashint8(n) * 7919::bigint', words: 'md5(n::text)', names: 'md5(n::text)::uuid' };

  it.each(['longs', 'words', 'names'] as const)(
    'are where locate() says after a split (%s)',
    async (table) => {
      const fill = async (first: number) => {
        for (const { shard, hash } of bucketsOf(table)) {
          await shards.rows(
            shard,
            `INSERT INTO public.${table} SELECT k FROM (SELECT ${random[table]} AS k FROM generate_series(${first}, ${first + 200}) n) v
            WHERE satisfies_hash_partition('public.${table}'::regclass, ${hash?.modulus}, ${hash?.remainder}, k)`,
          );
        }
      };
      await fill(1);
      await finish(plan(table, [1], ([parent]) => splitHash(parent ?? { id: 1 }, 4)));
      await fill(1_001);
      expect((await placed(table, 'key')).size).toBe(402);
      await expectLocated(table, 'key');
    },
  );
});
