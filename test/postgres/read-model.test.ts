import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyMigration } from '../../src/postgres/migrations.ts';
import type { ModelTable } from '../../src/postgres/read-model/definition.ts';
import { publish, readSource, withdraw } from '../../src/postgres/read-model/publisher.ts';
import { isHeldByPublication, releaseColumns } from '../../src/postgres/read-model/release.ts';
import { pauseStream, readModel, unsubscribe } from '../../src/postgres/read-model/subscriber.ts';
import { type ModelServer, startModel } from '../support/model-server.ts';
import { type MoveShards, planMove, startShards } from '../support/move-world.ts';
import { startWriters } from '../support/move-writers.ts';
import { waitFor } from '../support/wait.ts';

const sql = `
  CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
  CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
  CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, PRIMARY KEY (customer_id, id))
    PARTITION BY HASH (customer_id);
  CREATE TABLE people (id int, email text NOT NULL, age int, PRIMARY KEY (id)) PARTITION BY HASH (id)`;
const orders: ModelTable = { name: 'orders', reference: false };
const countries: ModelTable = { name: 'countries', reference: true };
const tables: readonly ModelTable[] = [
  orders,
  countries,
  { name: 'people', columns: ['id', 'age'], where: 'id < 100', reference: false },
];

let shards: MoveShards;
let model: ModelServer;
let copy: string;
let customers: number[] = [];

beforeAll(async () => {
  shards = await startShards(sql, [
    { name: 'countries', strategy: 'reference' },
    { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 4 },
    { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
    { name: 'people', strategy: 'hash', key: 'id', group: 'people', buckets: 2 },
  ]);
  for (const shard of ['s0', 's1']) {
    const app = await shards.connectApplication(shard);
    await app.query({ text: "INSERT INTO public.countries VALUES ('de', 'Germany'), ('fr', 'France')" });
    const rows = await app.query<{ id: number }>({
      text: `INSERT INTO public.customers SELECT n, 'c' || n FROM generate_series(1, 400) n
        WHERE (SELECT shard FROM herdsman.locate('customer', n)) = '${shard}' RETURNING id`,
    });
    if (shard === 's0') customers = rows.map(({ id }) => id);
    await app.query({ text: 'INSERT INTO public.orders SELECT id, 0, id FROM public.customers' });
    await app.query({
      text: `INSERT INTO public.people SELECT n, 'mail', n FROM generate_series(1, 200) n
        WHERE (SELECT shard FROM herdsman.locate('people', n)) = '${shard}'`,
    });
    await app.close();
  }
  model = await startModel(sql);
  copy = await model.copy(shards, ['s0', 's1'], tables);
  await model.until('all is copied', ({ streams }) =>
    streams.every(({ copying, running }) => running && copying.length === 0),
  );
}, 25_000);
afterAll(async () => {
  await model?.stop();
  await shards?.stop();
});

/** Rows of the model and of the shards' owned leaves, once they are the same. */
async function agree(): Promise<void> {
  await waitFor('the model agrees with the shards', async () => {
    const text = 'SELECT customer_id, id, amount FROM public.orders ORDER BY 1, 2';
    const there = (
      await Promise.all(
        ['s0', 's1'].map((shard) => shards.rows<{ customer_id: number; id: number }>(shard, text)),
      )
    )
      .flat()
      .toSorted((a, b) => a.customer_id - b.customer_id || a.id - b.id);
    const here = await model.operator.query({ text });
    return JSON.stringify(here) === JSON.stringify(there)
      ? { done: true }
      : {
          state: {
            here: here.length,
            there: there.length,
            streams: (await readModel(model.operator)).streams,
          },
        };
  });
}

describe('a read model', () => {
  it('has the chosen tables of all shards in one, and reference tables once', async () => {
    await agree();
    expect(await model.operator.query({ text: 'SELECT code FROM public.countries ORDER BY 1' })).toEqual([
      { code: 'de' },
      { code: 'fr' },
    ]);
    expect(await model.operator.query({ text: 'SELECT count(*)::int AS n FROM public.customers' })).toEqual([
      { n: 0 },
    ]);
  });

  it('has the chosen columns and rows only', async () => {
    const [row] = await model.operator.query({
      text: 'SELECT count(*)::int AS n, max(id) AS highest, count(email)::int AS mails, count(age)::int AS ages FROM public.people',
    });
    expect(row).toEqual({ n: 99, highest: 99, mails: 0, ages: 99 });
  });

  it('refuses writes to what it has copied, and nothing else', async () => {
    const app = await model.connectApplication();
    await expect(app.query({ text: "INSERT INTO public.countries VALUES ('it', 'Italy')" })).rejects.toThrow(
      "is a copy of the cluster's: write there",
    );
    await expect(app.query({ text: 'DELETE FROM public.orders' })).rejects.toThrow('write there');
    await expect(app.query({ text: 'TRUNCATE public.orders' })).rejects.toThrow('write there');
    await app.query({ text: 'CREATE TABLE public.notes (id int); INSERT INTO public.notes VALUES (1)' });
    await app.query({ text: 'DROP TABLE public.notes' });
    await app.close();
  });
});

describe('a bucket that moves under writers', () => {
  it('is neither lost nor doubled', async () => {
    const writers = startWriters(shards, customers, { writers: 4 });
    for (let round = 0; round < 4; round += 1) {
      const [from, to] = round % 2 === 0 ? ['s0', 's1'] : ['s1', 's0'];
      const test = planMove(shards, { group: 'customer', bucket: 0, from, to, retentionMs: 0 });
      const operator = test.operator();
      await operator.run();
      await operator.close();
    }
    const report = await writers.stop();
    expect(report.errors.slice(0, 5)).toEqual([]);
    await agree();
  });

  it('is not overtaken by its new owner while the old one is far behind', async () => {
    const bucket = 1;
    const from =
      shards.map.current.value.groups.find(({ name }) => name === 'customer')?.buckets[bucket]?.shard ?? '';
    const to = from === 's0' ? 's1' : 's0';
    const [row] = await shards.rows<{ id: number }>(
      from,
      `SELECT id FROM public.customers WHERE (SELECT bucket FROM herdsman.locate('customer', id)) = ${bucket} LIMIT 1`,
    );
    const { streams } = await readModel(model.operator);
    const old = streams.find(({ shard }) => shard === from);
    await pauseStream(model.operator, old?.name ?? '');
    const write = (shard: string, amount: number) =>
      shards.rows(shard, `UPDATE public.orders SET amount = ${amount} WHERE customer_id = ${row?.id}`);
    await write(from, -1);
    const test = planMove(shards, { group: 'customer', bucket, from, to, retentionMs: 0 });
    const operator = test.operator();
    await operator.run();
    await operator.close();
    await write(to, -2);
    const [before] = await model.operator.query<{ amount: number }>({
      text: `SELECT amount FROM public.orders WHERE customer_id = ${row?.id}`,
    });
    expect(before?.amount).toBe(row?.id);
    await model.operator.query({ text: `ALTER SUBSCRIPTION "${old?.name}" ENABLE` });
    await agree();
    const [after] = await model.operator.query<{ amount: number }>({
      text: `SELECT amount FROM public.orders WHERE customer_id = ${row?.id}`,
    });
    expect(after?.amount).toBe(-2);
  });
});

describe('a migration', () => {
  let position = 1;
  /** On the shards first, with rows before and after; then on the model, when all streams wait for it. */
  async function migrate(text: string, write: string): Promise<void> {
    position += 1;
    const name = String(position);
    for (const shard of ['s0', 's1']) {
      const app = await shards.connectApplication(shard);
      const outcome = await applyMigration(app, {
        shard,
        migration: { name, sql: text },
        position,
        layout: shards.layout,
      });
      expect(outcome).toEqual({ kind: 'applied' });
      await app.query({ text: write });
      await app.close();
    }
    await model.until('all streams wait', ({ streams }) =>
      streams.every(({ waitsFor }) => waitsFor === position),
    );
    expect(await model.migrate(name, text, position)).toEqual({ kind: 'applied' });
    await model.until('no stream waits', ({ streams }) =>
      streams.every(({ waitsFor, running }) => running && waitsFor === undefined),
    );
  }
  const countOf = async (where: string) => {
    const there = await Promise.all(
      ['s0', 's1'].map((shard) =>
        shards.rows<{ n: number }>(shard, `SELECT count(*)::int AS n FROM public.orders WHERE ${where}`),
      ),
    );
    const total = there.flat().reduce((sum, { n }) => sum + n, 0);
    await waitFor(`rows where ${where}`, async () => {
      const [row] = await model.operator.query<{ n: number }>({
        text: `SELECT count(*)::int AS n FROM public.orders WHERE ${where}`,
      });
      return row?.n === total ? { done: true } : { state: { here: row?.n, there: total } };
    });
    return total;
  };

  it('that adds a column without a default reaches it between the rows of before and after', async () => {
    await migrate(
      "ALTER TABLE orders ADD COLUMN note text; UPDATE orders SET note = 'old'; INSERT INTO countries VALUES ('it', 'Italy')",
      "INSERT INTO public.orders SELECT id, 77, 1, 'new' FROM public.customers LIMIT 5",
    );
    expect(await countOf("note = 'new'")).toBe(10);
    expect(await countOf("note = 'old'")).toBeGreaterThan(10);
    expect(
      await model.operator.query({ text: "SELECT FROM public.countries WHERE code = 'it'" }),
    ).toHaveLength(1);
  });

  it('that renames and drops columns does so too', async () => {
    await migrate(
      'ALTER TABLE orders RENAME note TO remark',
      "UPDATE public.orders SET remark = 'renamed' WHERE id = 77",
    );
    expect(await countOf("remark = 'renamed'")).toBe(10);
    await migrate('ALTER TABLE orders DROP COLUMN remark', 'DELETE FROM public.orders WHERE id = 77');
    expect(await countOf('id = 77')).toBe(0);
    await migrate(
      'ALTER TABLE orders ALTER amount TYPE bigint',
      'UPDATE public.orders SET amount = 5000000000 WHERE id = 0',
    );
    expect(await countOf('amount = 5000000000')).toBe(400);
  });
});

describe('a column that a read model names', () => {
  it.each([
    ['is dropped', 'ALTER TABLE people DROP COLUMN age'],
    ['changes its type', 'ALTER TABLE people ALTER age TYPE bigint'],
  ])('%s by a migration when the publication has given way', async (_, text) => {
    const migration = { name: 'people', sql: text };
    const app = await shards.connectApplication('s0');
    const apply = () => applyMigration(app, { shard: 's0', migration, position: 99, layout: shards.layout });
    const session = await shards.connectOperator('s0');
    await session.query({
      text: 'CREATE PUBLICATION hr_held_p00000000 FOR TABLE public.people (id, age) WHERE (age > 5) WITH (publish_via_partition_root)',
    });
    const refused = await apply();
    expect(refused.kind === 'failed' && isHeldByPublication(refused)).toBe(true);
    await session.query({ text: 'BEGIN' });
    await releaseColumns(session);
    expect((await readSource(session, [])).publications).toEqual([]);
    await session.query({ text: 'ROLLBACK; DROP PUBLICATION hr_held_p00000000' });
    await session.close();
    await app.close();
  });
});

describe('a TRUNCATE of one shard', () => {
  it('is told, and takes no rows of the others', async () => {
    const rows = () => model.operator.query({ text: 'SELECT count(*)::int AS n FROM public.orders' });
    const before = await rows();
    const app = await shards.connectApplication('s1');
    await app.query({ text: 'TRUNCATE public.orders' });
    await app.close();
    const facts = await model.until('it is told', ({ streams }) =>
      streams.some(({ truncated }) => truncated),
    );
    expect(facts.streams.filter(({ truncated }) => truncated).map(({ shard }) => shard)).toEqual(['s1']);
    expect(await rows()).toEqual(before);
  });
});

describe('what a shard publishes', () => {
  it.each([
    [
      'amount > 5',
      /uses amount: PostgreSQL can filter by columns of the replica identity \(customer_id, id\)/,
    ],
    ['nonsense > 5', /column "nonsense" does not exist/],
    ['id = 1), TABLE herdsman.logins WHERE (true', /a filter is one expression/],
    ['true); DROP TABLE orders; SELECT (1', /cannot insert multiple commands|syntax error/],
    ['id = (SELECT 1)', /cannot use subquery|invalid publication WHERE expression/],
  ])('has no filter %s', async (where, message) => {
    const session = await shards.connectOperator('s0');
    const { tables: sources } = await readSource(session, ['orders']);
    const answer = await publish(session, 'hr_bad_p00000000', [{ ...orders, where }], sources);
    expect(answer).toEqual({ kind: 'refused', message: expect.stringMatching(message) });
    expect((await readSource(session, [])).publications).not.toContain('hr_bad_p00000000');
    await session.close();
  });

  it('goes with the copy: slot, role and publication', async () => {
    const { streams } = await readModel(model.operator);
    for (const shard of ['s0', 's1']) {
      const session = await shards.connectOperator(shard);
      await withdraw(session, () => true);
      const facts = await readSource(session, []);
      expect({ publications: facts.publications, slots: facts.slots, roles: facts.roles }).toEqual({
        publications: [],
        slots: [],
        roles: [],
      });
      expect(await shards.rows(shard, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'hr%'")).toEqual([]);
      await session.close();
    }
    await unsubscribe(
      model.operator,
      streams.map(({ name }) => name),
    );
    expect((await readModel(model.operator)).streams).toEqual([]);
    expect(copy).toMatch(/^hr_reports_m0_/);
  });
});
