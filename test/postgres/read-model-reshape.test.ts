import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Bound, Bucket, BucketBound } from '../../src/api/v1alpha1/shard-map.ts';
import { readModel } from '../../src/postgres/read-model/subscriber.ts';
import { nextBucketId } from '../../src/sharding/bucket-ids.ts';
import { isolateTenant, mergeBounds, type Reshaped, splitHash } from '../../src/sharding/reshape.ts';
import { type ModelServer, startModel } from '../support/model-server.ts';
import { type MoveShards, planMove, startShards } from '../support/move-world.ts';
import { startWriters, type WrittenTable } from '../support/move-writers.ts';
import { waitFor } from '../support/wait.ts';

// A read model while the set of buckets changes on the shards, and writers write.

const sql = `
  CREATE TABLE orders (customer_id int, id int, amount int, PRIMARY KEY (customer_id, id)) PARTITION BY HASH (customer_id);
  CREATE TABLE accounts (tenant text, id int, amount int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant)`;
const accounts: WrittenTable = {
  group: 'accounts',
  keyType: 'text',
  insert: 'INSERT INTO public.accounts VALUES ($1, $2, $3) RETURNING 1',
  update: 'UPDATE public.accounts SET amount = $3 WHERE tenant = $1 AND id = $2 RETURNING 1',
  delete: 'DELETE FROM public.accounts WHERE tenant = $1 AND id = $2 RETURNING 1',
};
const tenants = ['big', 't1', 't2', 't3', 't4', 't5'];
const customers = Array.from({ length: 60 }, (_, n) => n);

let shards: MoveShards;
let model: ModelServer;

beforeAll(async () => {
  shards = await startShards(sql, [
    { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer', buckets: 4 },
    {
      name: 'accounts',
      strategy: 'directory',
      key: 'tenant',
      group: 'accounts',
      buckets: 2,
      tenants: [{ value: 'big' }],
    },
  ]);
  model = await startModel(sql);
  await model.copy(
    shards,
    ['s0', 's1'],
    [
      { name: 'orders', reference: false },
      { name: 'accounts', reference: false },
    ],
  );
  await model.until('all is copied', ({ streams }) =>
    streams.every(({ copying, running }) => running && copying.length === 0),
  );
}, 60_000);
afterAll(async () => {
  await model?.stop();
  await shards?.stop();
});

function bucketsOf(group: string): readonly Bucket[] {
  return shards.map.current.value.groups.find(({ name }) => name === group)?.buckets ?? [];
}

/** Does a change to its end. */
async function carryOut(change: Parameters<typeof planMove>[1]): Promise<void> {
  const operator = planMove(shards, { ...change, retentionMs: 0 }).operator();
  await operator.run();
  await operator.close();
  await shards.reconcile();
}

const other = (shard: string) => (shard === 's0' ? 's1' : 's0');

/** Puts other buckets into the place of some, on the other shard. */
async function reshape(
  group: string,
  ids: readonly number[],
  change: (parents: BucketBound[]) => Reshaped,
): Promise<void> {
  const owned = bucketsOf(group).filter(({ id }) => ids.includes(id));
  const parents = owned.map(({ shard: _, epoch: __, pending: ___, ...bound }) => bound);
  const reshaped = change(parents);
  if (reshaped.kind === 'refused') throw new Error(reshaped.problem.message);
  const first = nextBucketId({ buckets: [...bucketsOf(group)] });
  const children = reshaped.bounds.map((bound: Bound, index) => ({ id: first + index, ...bound }));
  const from = owned[0]?.shard ?? '';
  await carryOut({ group, parents, children, from, to: other(from) });
}

async function move(group: string, bucket: number): Promise<void> {
  const from = bucketsOf(group).find(({ id }) => id === bucket)?.shard ?? '';
  await carryOut({ group, bucket, from, to: other(from) });
}

async function agree(table: string, key: string): Promise<void> {
  await waitFor(`the model agrees on ${table}`, async () => {
    const text = `SELECT ${key} AS key, id, amount FROM public.${table} ORDER BY 1, 2`;
    const order = (a: { key: unknown; id: number }, b: { key: unknown; id: number }) =>
      `${a.key}`.localeCompare(`${b.key}`) || a.id - b.id;
    const there = await Promise.all(
      ['s0', 's1'].map((shard) => shards.rows<{ key: unknown; id: number }>(shard, text)),
    );
    const here = await model.operator.query<{ key: unknown; id: number }>({ text });
    const isSame = JSON.stringify(here.toSorted(order)) === JSON.stringify(there.flat().toSorted(order));
    return isSame && here.length > 0
      ? { done: true }
      : { state: { here: here.length, there: there.flat().length, ...(await readModel(model.operator)) } };
  });
}

async function expectUnbroken(): Promise<void> {
  const { copy, streams } = await readModel(model.operator);
  expect(copy?.name).toMatch(/000001$/);
  expect(streams.map(({ applyErrors, truncated }) => ({ applyErrors, truncated }))).toEqual([
    { applyErrors: 0, truncated: false },
    { applyErrors: 0, truncated: false },
  ]);
}

it('follows buckets that are split, moved and merged', async () => {
  const writers = startWriters(shards, customers, { writers: 4 });
  await reshape('customer', [0], ([parent]) => splitHash(parent ?? { id: 0 }, 2));
  const parts = () =>
    bucketsOf('customer')
      .filter(({ hash }) => (hash?.remainder ?? 1) % 4 === 0)
      .map(({ id }) => id);
  expect(parts()).toHaveLength(2);
  for (const id of parts()) await move('customer', id);
  await reshape('customer', parts(), mergeBounds);
  expect(parts()).toHaveLength(1);
  const report = await writers.stop();
  expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
  expect(report.redirected).toBeGreaterThan(0);
  await agree('orders', 'customer_id');
  await expectUnbroken();
});

it('follows a tenant that is isolated, and then moved', async () => {
  const writers = startWriters(shards, tenants, { writers: 4, table: accounts });
  const [home] = await shards.rows<{ bucket: number }>(
    's0',
    "SELECT bucket FROM herdsman.locate('accounts', 't3')",
  );
  await reshape('accounts', [home?.bucket ?? -1], ([parent]) => isolateTenant(parent ?? { id: -1 }, 't3'));
  const own = bucketsOf('accounts').find(({ values }) => values?.[0] === 't3');
  await move('accounts', own?.id ?? -1);
  const report = await writers.stop();
  expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
  await agree('accounts', 'tenant');
  await expectUnbroken();
});
