import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Connection } from '../../src/postgres/connection.ts';
import { findConversionObstacles } from '../../src/postgres/conversion/obstacles.ts';
import { replaceEmpty } from '../../src/postgres/conversion/replace-empty.ts';
import { readModel, unsubscribe } from '../../src/postgres/read-model/subscriber.ts';
import { layoutOf } from '../../src/sharding/layout.ts';
import { Conversions, isFollowing } from '../support/conversion.ts';
import { type ModelServer, startModel } from '../support/model-server.ts';
import { type MoveShards, startShards } from '../support/move-world.ts';
import { waitFor } from '../support/wait.ts';

// A read model of plain tables that become partitioned, and plain again, under writers.

const sql = `
  CREATE TABLE orders (customer_id int, id int, amount int, secret text NOT NULL DEFAULT 'x', PRIMARY KEY (customer_id, id));
  CREATE TABLE lines (customer_id int, id int, amount int, PRIMARY KEY (customer_id, id));
  CREATE TABLE notes (customer_id int, id int, amount int, PRIMARY KEY (customer_id, id))`;
const tables = ['orders', 'lines', 'notes'];
const copied = [
  { name: 'orders', columns: ['customer_id', 'id', 'amount'], where: 'customer_id < 40', reference: false },
  { name: 'lines', reference: false },
  { name: 'notes', reference: false },
];

let shards: MoveShards;
let model: ModelServer;
let operator: Connection;
let application: Connection;
let conversions: Conversions;

beforeAll(async () => {
  shards = await startShards(sql, [], { count: 1 });
  operator = await shards.connectOperator('s0');
  application = await shards.connectApplication('s0');
  for (const table of ['orders', 'lines']) {
    await application.query({
      text: `INSERT INTO public.${table} SELECT n % 50, n, n FROM generate_series(1, 2000) n`,
    });
  }
  model = await startModel(sql);
  await model.copy(shards, ['s0'], copied);
  await model.until('all is copied', ({ streams }) =>
    streams.every(({ copying, running }) => running && copying.length === 0),
  );
  const shard = { name: 's0', database: 'app', operator, application };
  conversions = new Conversions({
    shards: [shard],
    application: 'app',
    monitoring: 'monitoring',
    password: 'an application',
    shard: () => shard,
    close: async () => undefined,
  });
}, 60_000);
afterAll(async () => {
  await Promise.all([operator?.close(), application?.close()]);
  await model?.stop();
  await shards?.stop();
});

let rounds = 0;

/** Writes rows of the tables that have some until it is stopped. */
async function startChanges(): Promise<{ stop(): Promise<number> }> {
  const session = await shards.connectApplication('s0');
  let stopping = false;
  rounds += 1;
  const first = rounds * 10_000_000;
  const run = async (): Promise<number> => {
    let changes = 0;
    for (let id = first; !stopping; id += 1, changes += 1) {
      for (const table of tables.filter((name) => name !== 'notes')) {
        await session.query({
          text: `INSERT INTO public.${table} (customer_id, id, amount) VALUES (${id % 50}, ${id}, 1);
            UPDATE public.${table} SET amount = amount + 1 WHERE customer_id = ${id % 50} AND id = ${id};
            DELETE FROM public.${table} WHERE customer_id = ${id % 50} AND id = ${id - 100}`,
        });
      }
    }
    await session.close();
    return changes;
  };
  const running = run();
  return {
    stop() {
      stopping = true;
      return running;
    },
  };
}

async function agree(table: string, where = 'true'): Promise<void> {
  await waitFor(`the model agrees on ${table}`, async () => {
    const text = `SELECT count(*)::int AS n, md5(string_agg(concat_ws(' ', customer_id, id, amount), ',' ORDER BY customer_id, id)) AS rows
      FROM public.${table} WHERE ${where}`;
    const [there] = await shards.rows('s0', text);
    const [here] = await model.operator.query({ text });
    return JSON.stringify(here) === JSON.stringify(there)
      ? { done: true }
      : { state: { here, there, streams: (await readModel(model.operator)).streams } };
  });
}

async function expectUnbroken(copy = '000001'): Promise<void> {
  await agree('orders', 'customer_id < 40');
  await agree('lines');
  await agree('notes');
  const [row] = await model.operator.query({
    text: 'SELECT count(*) FILTER (WHERE customer_id >= 40)::int AS others, count(secret)::int AS secrets FROM public.orders',
  });
  expect(row).toEqual({ others: 0, secrets: 0 });
  const { copy: present, streams } = await readModel(model.operator);
  expect(present?.name).toMatch(new RegExp(`${copy}$`));
  expect(streams).toMatchObject([{ applyErrors: 0, syncErrors: 0, running: true }]);
}

const kinds = () =>
  shards
    .rows<{ kind: string }>(
      's0',
      `SELECT relkind::text AS kind FROM pg_class WHERE oid = ANY (ARRAY['public.orders', 'public.lines']::regclass[])`,
    )
    .then((rows) => rows.map(({ kind }) => kind).join(''));

it('goes on with the partitioned tables, without a new copy', async () => {
  conversions.tables = [
    { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer', buckets: 4 },
    { name: 'lines', strategy: 'hash', key: 'customer_id', group: 'customer' },
  ];
  const changes = await startChanges();
  await conversions.run('customer', isFollowing);
  expect(await kinds()).toBe('pp');
  expect(await changes.stop()).toBeGreaterThan(0);
  await conversions.adopt();
  await application.query({
    text: 'UPDATE public.orders SET amount = amount + 1; DELETE FROM public.lines WHERE id < 100',
  });
  await expectUnbroken();
});

it('goes on with the plain tables when they come back', async () => {
  conversions.tables = [];
  const changes = await startChanges();
  await conversions.run('customer', ({ kind }) => kind === 'none');
  expect(await kinds()).toBe('rr');
  expect(await changes.stop()).toBeGreaterThan(0);
  await application.query({
    text: 'UPDATE public.orders SET amount = amount + 1; DELETE FROM public.lines WHERE id < 200',
  });
  await expectUnbroken();
});

it('goes on with them also while it copies them', async () => {
  const { streams } = await readModel(model.operator);
  await unsubscribe(
    model.operator,
    streams.map(({ name }) => name),
  );
  conversions.tables = [
    { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer', buckets: 4 },
    { name: 'lines', strategy: 'hash', key: 'customer_id', group: 'customer' },
  ];
  const changes = await startChanges();
  await conversions.run('customer', (plan) => plan.kind === 'step' && plan.step === 'switch');
  const copy = await model.copy(shards, [], copied);
  // Nothing is copied before the switch: what is begun waits for a lock in the model.
  const holder = await model.connectApplication();
  await holder.query({ text: 'BEGIN; LOCK TABLE public.orders, public.lines IN SHARE ROW EXCLUSIVE MODE' });
  await model.follow(shards, 's0', copied, copy, true);
  await conversions.run('customer', isFollowing);
  expect(await kinds()).toBe('pp');
  await holder.close();
  expect(await changes.stop()).toBeGreaterThan(0);
  await model.until('all is copied', ({ streams: found }) =>
    found.every(({ copying, running }) => running && copying.length === 0),
  );
  await expectUnbroken('000002');
});

it('goes on with an empty table that is replaced', async () => {
  const [group] = layoutOf([
    { name: 'notes', strategy: 'hash', key: 'customer_id', group: 'notes', buckets: 1 },
  ]).groups;
  if (group === undefined) throw new Error('no group');
  expect(await replaceEmpty(operator, group, 'partitioned', 0)).toEqual({ kind: 'done' });
  await application.query({
    text: `CREATE TABLE public.notes_b0000 PARTITION OF public.notes FOR VALUES WITH (MODULUS 1, REMAINDER 0);
      INSERT INTO public.notes SELECT n, n, n FROM generate_series(1, 50) n`,
  });
  await expectUnbroken('000002');
});

it("but another's publication stands in the way", async () => {
  await shards.rows('s0', 'CREATE PUBLICATION mine FOR TABLE public.orders');
  const [group] = layoutOf([
    { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer', buckets: 4 },
  ]).groups;
  if (group === undefined) throw new Error('no group');
  expect(await findConversionObstacles(operator, group)).toContainEqual({
    code: 'Dependent',
    message: expect.stringContaining('publication mine'),
  });
});
