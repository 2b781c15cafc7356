import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { leafName } from '../../src/sharding/names.ts';
import { complete, type MoveShards, planMove, startShards, type TestMove } from '../support/move-world.ts';
import { startWriters } from '../support/move-writers.ts';
import { waitFor, waitUntil } from '../support/wait.ts';

// Buckets that are large enough for the servers to copy them by themselves.

const lock = 4711;

/** Rows of customers wait on a shard for as long as somebody else has the lock there, and are refused where a table says so. */
const sql = `
  CREATE TYPE mood AS ENUM ('fine', 'so so');
  CREATE FUNCTION passes() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
      IF to_regclass('public.refuse_here') IS NOT NULL THEN RAISE EXCEPTION 'not here'; END IF;
      PERFORM pg_advisory_xact_lock_shared(${lock});
      RETURN true;
    END $$;
  CREATE TABLE customers (id int PRIMARY KEY, name text, CHECK (passes())) PARTITION BY HASH (id);
  CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, note text, mood mood DEFAULT 'fine',
    twice int GENERATED ALWAYS AS (amount * 2) STORED, PRIMARY KEY (customer_id, id)) PARTITION BY HASH (customer_id);
  CREATE INDEX ON orders (amount)`;
const bucket = 0;
const leaf = `public.${leafName('orders', bucket)}`;
const rowsOfOrders = 300_000;

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
  await app.query({
    text: `INSERT INTO public.orders (customer_id, id, amount, note)
      SELECT (ARRAY[${customers.join()}])[1 + n % ${customers.length}], -n, n, repeat(md5(n::text), 3)
        FROM generate_series(1, ${rowsOfOrders}) n`,
  });
  await app.close();
});
afterAll(() => shards?.stop());

function ownerOf(): string {
  return shards.map.current.value.groups[0]?.buckets[bucket]?.shard ?? '';
}

function plan(): TestMove {
  const from = ownerOf();
  return planMove(shards, { bucket, from, to: from === 's0' ? 's1' : 's0', retentionMs: 0 });
}

/** Goes on to the end beside another operator, and may be refused what that one has done. */
async function finishBeside(test: TestMove): Promise<void> {
  while (!['done', 'failed', 'cancelled'].includes(test.record.current.value.phase)) {
    await complete(test).catch(() => undefined);
  }
}

/** Streams that a move made and did not take away, with those of PostgreSQL's for single tables. */
async function streams(): Promise<unknown[]> {
  const found = await Promise.all(
    ['s0', 's1'].map((shard) =>
      shards.rows(
        shard,
        `SELECT 'slot ' || slot_name AS thing FROM pg_replication_slots
          UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
          UNION ALL SELECT 'publication ' || pubname FROM pg_publication
          UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin
          UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'hm%'`,
      ),
    ),
  );
  return found.flat();
}

/** What was there from the beginning. */
async function digest(): Promise<unknown> {
  const [row] = await shards.rows(
    ownerOf(),
    `SELECT count(*)::int AS rows, sum(hashtextextended(o::text, 0))::text AS hash FROM ${leaf} o WHERE id < 0`,
  );
  return row;
}

/** The tables that a shard's workers copy now. */
function copied(shard: string) {
  return shards.rows<{ table: string }>(
    shard,
    `SELECT p.relid::regclass::text AS table FROM pg_stat_progress_copy p JOIN pg_stat_subscription s ON s.pid = p.pid`,
  );
}

/** Does the work while rows of customers are kept waiting, or refused, on a shard. */
async function whileCustomers(are: 'kept' | 'refused', shard: string, work: () => Promise<void>) {
  const session = await shards.connectApplication(shard);
  const [begin, end] =
    are === 'kept'
      ? [`SELECT pg_advisory_lock(${lock})`, `SELECT pg_advisory_unlock(${lock})`]
      : ['CREATE TABLE public.refuse_here ()', 'DROP TABLE public.refuse_here'];
  await session.query({ text: begin });
  try {
    await work();
  } finally {
    await session.query({ text: end });
    await session.close();
  }
}

afterEach(async () => {
  expect(await streams()).toEqual([]);
  await shards.reconcile();
});

describe('a large bucket', () => {
  it('is copied by the servers, with its keys after the rows, under writers', async () => {
    const before = await digest();
    const test = plan();
    const writers = startWriters(shards, customers, { writers: 6 });
    const seen = new Set<string>();
    let moving = true;
    const watching = (async () => {
      while (moving) for (const { table } of await copied(test.move.to)) seen.add(table);
    })();
    await complete(test);
    moving = false;
    await watching;
    const report = await writers.stop();
    expect(test.record.current.value).toMatchObject({ phase: 'done', failures: 0, copy: 1 });
    expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
    expect([...seen]).toContain(leaf);
    expect(ownerOf()).toBe(test.move.to);
    expect(await digest()).toEqual(before);
    const rows = await shards.rows<{ key: string; value: number }>(
      ownerOf(),
      `SELECT customer_id || '/' || id AS key, amount AS value FROM ${leaf} WHERE id > 0`,
    );
    expect(report.ledger.judge(rows)).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
  });

  it('is copied anew through the operator by one who takes over, and the one before does no harm', async () => {
    const before = await digest();
    const test = plan();
    const first = test.operator();
    const second = test.operator();
    const running: Promise<unknown>[] = [];
    await whileCustomers('kept', test.move.to, async () => {
      // It finds out that it was replaced; two that went on for ever would take each other's copies away.
      running.push(first.run(() => test.record.current.value.copy > 1).catch(() => undefined));
      await waitUntil('the servers copy', async () =>
        (await copied(test.move.to)).some(({ table }) => table.includes('customers')),
      );
      running.push(second.run().catch(() => undefined));
      await waitUntil('it is copied anew', () => test.record.current.value.copy > 1);
    });
    await Promise.all(running);
    await Promise.all([first, second].map((operator) => operator.close()));
    await finishBeside(test);
    expect(test.record.current.value).toMatchObject({ phase: 'done' });
    expect(test.record.current.value.copy).toBeGreaterThan(1);
    expect(await digest()).toEqual(before);
  });

  it('is not copied again when a key takes longer than its source waits for an answer', async () => {
    const before = await digest();
    const test = plan();
    const { from, to } = test.move;
    await shards.rows(from, "ALTER DATABASE app SET wal_sender_timeout = '11s'");
    const [app, target] = [await shards.connectApplication(from), await shards.connectOperator(to)];
    const operator = test.operator();
    let changes = 0;
    let isOver = false;
    const changing = (async () => {
      while (!isOver) {
        changes += 1;
        await app.query({
          text: `INSERT INTO public.orders (customer_id, id, note) VALUES (${customers[0]}, ${2_000_000 + changes}, 'late')`,
        });
      }
    })();
    const running = operator.run();
    await waitFor(
      'the servers copy',
      async () => {
        const tables = await copied(to);
        return tables.some(({ table }) => table.includes('orders')) ? { done: true } : { state: tables };
      },
      { everyMs: 5 },
    );
    // The key is made when the row of the move can be locked; until then changes wait for it.
    await target.query({ text: 'BEGIN; SELECT FROM herdsman.moves FOR UPDATE' });
    await waitUntil('the stream of the copy was ended', async () => {
      const slots = await shards.rows(
        from,
        "SELECT FROM pg_replication_slots WHERE slot_name LIKE 'hm%' AND active",
      );
      return slots.length === 0;
    });
    await target.query({ text: 'COMMIT' });
    isOver = true;
    await changing;
    await running;
    await shards.rows(from, 'ALTER DATABASE app RESET wal_sender_timeout');
    await Promise.all([operator, app, target].map((session) => session.close()));
    expect(test.record.current.value).toMatchObject({ phase: 'done', copy: 1, failures: 0 });
    expect(await digest()).toEqual(before);
    const added = await shards.rows(to, "DELETE FROM public.orders WHERE note = 'late' RETURNING id");
    expect(added).toHaveLength(changes);
  });

  it('that the target refuses is copied through the operator, who is told why', async () => {
    const before = await digest();
    const test = plan();
    const operator = test.operator();
    await whileCustomers('refused', test.move.to, async () => {
      await operator.run(() => test.record.current.value.lastEnding?.message.includes('not here') === true);
    });
    const copies = test.steps.filter(({ step }) => step.kind === 'copy-rows').map(({ result }) => result);
    expect(copies.slice(0, 2)).toMatchObject([{ reason: 'CopyFailed' }, { message: 'not here' }]);
    await operator.run();
    await operator.close();
    expect(test.record.current.value.phase).toBe('done');
    expect(await digest()).toEqual(before);
  });

  it('leaves no trace when it is cancelled while it is copied', async () => {
    const before = await digest();
    const from = ownerOf();
    const test = plan();
    const operator = test.operator();
    await whileCustomers('kept', test.move.to, async () => {
      const running = operator.run().catch(() => undefined);
      await waitUntil('the servers copy', async () => (await copied(test.move.to)).length > 0);
      test.move = { ...test.move, cancel: true };
      await finishBeside(test);
      await running;
    });
    await operator.close();
    expect(test.record.current.value.phase).toBe('cancelled');
    expect(ownerOf()).toBe(from);
    expect(await digest()).toEqual(before);
  });
});
