import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Connection } from '../../src/postgres/connection.ts';
import { type MoveShards, planMove, startShards, type TestMove } from '../support/move-world.ts';

const sql = `
  CREATE TABLE countries (code text PRIMARY KEY);
  INSERT INTO countries VALUES ('de'), ('fr');
  CREATE SEQUENCE tickets;
  CREATE TABLE people (
    id int PRIMARY KEY, country text NOT NULL REFERENCES countries, ticket bigint NOT NULL DEFAULT nextval('tickets'),
    visits int NOT NULL DEFAULT 0, body text
  ) PARTITION BY HASH (id);
  CREATE TABLE letters (person int REFERENCES people, id int, PRIMARY KEY (person, id)) PARTITION BY HASH (person)`;
const buckets = 4;
/** More than fits into one page a hundred thousand times over. */
const hugeBytes = 100_000_000;

let shards: MoveShards;
let app: Connection;
beforeAll(async () => {
  shards = await startShards(sql, [
    { name: 'countries', strategy: 'reference' },
    { name: 'people', strategy: 'hash', key: 'id', group: 'people', buckets },
    { name: 'letters', strategy: 'hash', key: 'person', group: 'people' },
  ]);
  app = await shards.connectApplication('s0');
  for (const bucket of [0, 2]) {
    await app.query({
      text: `INSERT INTO public.people (id, country) SELECT n, 'de' FROM generate_series(1, 2000) n
          WHERE satisfies_hash_partition('public.people'::regclass, ${buckets}, ${bucket}, n);
        INSERT INTO public.letters SELECT id, 1 FROM public.people_b000${bucket}`,
    });
  }
});
afterAll(async () => {
  await app?.close();
  await shards?.stop();
});

let moved: TestMove | undefined;
async function complete(test: TestMove): Promise<void> {
  const operator = test.operator();
  await operator.run();
  await operator.close();
  expect(test.record.current.value).toMatchObject({ phase: 'done', copy: 1 });
}

/** Every test moves bucket 0 away, and finds it on s0. */
afterEach(async () => {
  if (moved === undefined) return;
  await shards.reconcile();
  await complete(planMove(shards, { bucket: 0, from: 's1', to: 's0', retentionMs: 0 }));
  await shards.reconcile();
  moved = undefined;
});

function plan(): TestMove {
  moved = planMove(shards, { bucket: 0, retentionMs: 0 });
  return moved;
}

async function until(test: TestMove, step: Parameters<TestMove['operator']>[0]): Promise<void> {
  const operator = test.operator(step);
  await expect(operator.run()).rejects.toThrow();
  await operator.close();
}

async function idsOf(shard: string, bucket: number): Promise<number[]> {
  const rows = await shards.rows<{ id: number }>(
    shard,
    `SELECT id FROM public.people_b000${bucket} ORDER BY id LIMIT 10`,
  );
  return rows.map(({ id }) => id);
}

function huge(letter: string): string {
  return `(SELECT string_agg(md5('${letter}' || n), '') FROM generate_series(1, ${hugeBytes / 32}) n)`;
}

describe('a value of a hundred megabytes', () => {
  it('moves, by the copy and by the stream, and whether it was changed meanwhile or not', async () => {
    const [kept = 0, changed = 0] = await idsOf('s0', 0);
    await app.query({
      text: `UPDATE public.people SET body = ${huge('a')} WHERE id IN (${kept}, ${changed})`,
    });
    const test = plan();
    await until(test, 'copy-rows');
    await app.query({ text: `UPDATE public.people SET visits = 7 WHERE id = ${kept}` });
    await app.query({ text: `UPDATE public.people SET body = ${huge('b')} WHERE id = ${changed}` });
    await complete(test);
    const found = await shards.rows(
      's1',
      `SELECT id, visits, length(body) AS length, md5(body) = md5(${huge('a')}) AS "isOld", md5(body) = md5(${huge('b')}) AS "isNew"
        FROM public.people WHERE id IN (${kept}, ${changed}) ORDER BY id`,
    );
    expect(found).toEqual([
      { id: kept, visits: 7, length: hugeBytes, isOld: true, isNew: false },
      { id: changed, visits: 0, length: hugeBytes, isOld: false, isNew: true },
    ]);
    await shards.rows('s1', `UPDATE public.people SET body = NULL WHERE id IN (${kept}, ${changed})`);
  });
});

describe('a transaction that stays open', () => {
  it('from before the copy is waited for, and is in it', async () => {
    const [id = 0] = await idsOf('s0', 0);
    await app.query({ text: `BEGIN; UPDATE public.people SET visits = 11 WHERE id = ${id}` });
    const test = plan();
    const operator = test.operator();
    const running = operator.run();
    // The slot is made when all transactions that are older have ended.
    await expect
      .poll(() =>
        shards.rows(
          's0',
          "SELECT FROM pg_stat_activity WHERE backend_type = 'walsender' AND wait_event = 'transactionid'",
        ),
      )
      .toHaveLength(1);
    await app.query({ text: 'COMMIT' });
    await running;
    await operator.close();
    expect(test.record.current.value).toMatchObject({ phase: 'done', failures: 0 });
    const rows = await shards.rows('s1', `SELECT visits FROM public.people WHERE id = ${id}`);
    expect(rows).toEqual([{ visits: 11 }]);
  });

  it('from during the copy arrives when it is committed', async () => {
    const [id = 0] = await idsOf('s0', 0);
    const test = plan();
    await until(test, 'subscribe');
    await app.query({ text: `BEGIN; UPDATE public.people SET visits = 12 WHERE id = ${id}` });
    const operator = test.operator();
    await operator.run((report) => report.reason === 'Locked' || report.reason === 'FenceBlocked');
    await app.query({ text: 'COMMIT' });
    await operator.run();
    await operator.close();
    expect(test.record.current.value).toMatchObject({ phase: 'done', copy: 1 });
    const rows = await shards.rows('s1', `SELECT visits FROM public.people WHERE id = ${id}`);
    expect(rows).toEqual([{ visits: 12 }]);
  });
});

describe('the switch', () => {
  it('scans no table, and lets writers of other buckets and of reference tables pass', async () => {
    for (const shard of ['s0', 's1']) {
      await shards.rows(shard, "ALTER SYSTEM SET log_min_messages = 'debug1'");
      await shards.rows(shard, 'SELECT pg_reload_conf()');
    }
    const test = plan();
    await until(test, 'arm');
    const logged = shards.servers.map((server) => server.log().length);
    await until(test, 'gate');
    const own = await shards.connectApplication('s1');
    for (const [session, bucket, shard] of [
      [app, 2, 's0'],
      [own, 1, 's1'],
    ] as const) {
      const [id] = await shards.rows<{ n: number }>(
        shard,
        `SELECT n FROM generate_series(10000, 11000) n
          WHERE satisfies_hash_partition('public.people'::regclass, ${buckets}, ${bucket}, n) LIMIT 1`,
      );
      await session.query({
        text: `BEGIN; SET LOCAL lock_timeout = '1s'; SELECT FROM own.people_b000${bucket};
          INSERT INTO public.people (id, country) VALUES (${id?.n}, 'fr'); INSERT INTO public.letters VALUES (${id?.n}, 1);
          DELETE FROM public.letters WHERE person = ${id?.n}; DELETE FROM public.people WHERE id = ${id?.n}; COMMIT`,
      });
      await session.query({
        text: `BEGIN; SET LOCAL lock_timeout = '1s'; UPDATE public.countries SET code = code; COMMIT`,
      });
    }
    await own.close();
    const since = (index: number) => shards.servers[index]?.log().slice(logged[index]) ?? '';
    expect(since(1)).toContain(
      'partition constraint for table "people_b0000" is implied by existing constraints',
    );
    expect(since(1)).toContain(
      'partition constraint for table "letters_b0000" is implied by existing constraints',
    );
    for (const index of [0, 1]) {
      expect(since(index)).not.toMatch(/verifying table|validating foreign key constraint|rewriting table/);
    }
    for (const shard of ['s0', 's1']) {
      await shards.rows(shard, 'ALTER SYSTEM RESET log_min_messages');
      await shards.rows(shard, 'SELECT pg_reload_conf()');
    }
    await complete(test);
  });
});

describe('a default from a sequence', () => {
  it('goes on, on either shard by its own numbers', async () => {
    const [row] = await shards.rows<{ n: number }>(
      's0',
      `SELECT n FROM generate_series(20000, 21000) n
        WHERE satisfies_hash_partition('public.people'::regclass, ${buckets}, 0, n) LIMIT 1`,
    );
    const before = await shards.rows('s0', 'SELECT id, ticket FROM public.people_b0000 ORDER BY id');
    await complete(plan());
    expect(await shards.rows('s1', 'SELECT id, ticket FROM public.people_b0000 ORDER BY id')).toEqual(before);
    await shards.reconcile();
    await shards.rows('s1', `INSERT INTO public.people (id, country) VALUES (${row?.n}, 'de')`);
    const [fresh] = await shards.rows('s1', `SELECT ticket FROM public.people WHERE id = ${row?.n}`);
    expect(fresh).toEqual({ ticket: expect.any(String) });
  });
});
