import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Connection } from '../../src/postgres/connection.ts';
import type { Step } from '../../src/sharding/move/model.ts';
import { complete, type MoveShards, planMove, startShards, type TestMove } from '../support/move-world.ts';

const sql = `
  CREATE TABLE people (
    id int PRIMARY KEY, amount int NOT NULL, value int, doubled int GENERATED ALWAYS AS (amount * 2) STORED, kind regclass, kinds regclass[]
  ) PARTITION BY HASH (id);
  CREATE TABLE kind (); CREATE TABLE other ()`;

let shards: MoveShards;
let app: Connection;
beforeAll(async () => {
  shards = await startShards(sql, [{ name: 'people', strategy: 'hash', key: 'id', buckets: 2 }]);
  // The tables of this name have different OIDs.
  await shards.rows('s1', 'DROP TABLE public.kind; CREATE TABLE public.kind ()');
  app = await shards.connectApplication('s0');
  await app.query({
    text: `INSERT INTO public.people (id, amount, value, kind, kinds) SELECT n, n, n, 'public.kind', ARRAY['public.kind', 'public.other']::regclass[]
      FROM generate_series(1, 200) n WHERE satisfies_hash_partition('public.people'::regclass, 2, 0, n)`,
  });
});
afterAll(async () => {
  await app?.close();
  await shards?.stop();
});

function ownerOf(): string {
  return shards.map.current.value.groups[0]?.buckets[0]?.shard ?? '';
}

function plan(verify: 'full' | 'none'): TestMove {
  const from = ownerOf();
  return planMove(shards, { bucket: 0, from, to: from === 's0' ? 's1' : 's0', retentionMs: 0, verify });
}

function rowsThere(): Promise<Record<string, unknown>[]> {
  return shards.rows(
    ownerOf(),
    'SELECT id, amount, value, doubled, kind::text, kinds::text FROM public.people ORDER BY id',
  );
}

let changes = 0;
const migrations = {
  'adds a column': () => `ADD COLUMN stamp_${changes} text`,
  'gives every row another value': () => 'ALTER COLUMN value TYPE int USING value + 1',
  'makes a column anew': () =>
    'DROP COLUMN doubled, ADD COLUMN doubled int GENERATED ALWAYS AS (amount * 2) STORED',
  'changes how a column is generated': () =>
    `ALTER COLUMN doubled SET EXPRESSION AS (amount * ${changes + 2})`,
};
type Migration = keyof typeof migrations;

describe('a move under which a migration', () => {
  const steps: Step['kind'][] = [
    ...([
      'stage',
      'publish',
      'copy-rows',
      'subscribe',
      'catch-up',
      'index',
      'verify',
      'arm',
      'announce',
    ] as const),
  ];
  const others = (Object.keys(migrations) as Migration[]).filter((name) => name !== 'adds a column');
  const cases: [Migration, Step['kind']][] = [
    ...steps.map((step): [Migration, Step['kind']] => ['adds a column', step]),
    ...others.flatMap((name) =>
      (['copy-rows', 'verify', 'announce'] as const).map((step): [Migration, Step['kind']] => [name, step]),
    ),
  ];

  it.each(cases)('%s after "%s" takes the new rows along', async (name, step) => {
    const test = plan('none');
    const operator = test.operator(step);
    await expect(operator.run()).rejects.toThrow();
    await operator.close();
    changes += 1;
    const alter = `ALTER TABLE public.people ${migrations[name]()}`;
    for (const shard of ['s0', 's1']) await shards.rows(shard, alter);
    const wanted = await rowsThere();
    await complete(test);
    expect(test.record.current.value.phase).toBe('done');
    expect(ownerOf()).toBe(test.move.to);
    expect(await rowsThere()).toEqual(wanted);
    const isCopied = steps.indexOf(step) >= steps.indexOf('copy-rows');
    if (isCopied) {
      expect(test.record.current.value).toMatchObject({ copy: 2, lastEnding: { reason: 'TableChanged' } });
    }
  });
});

it('is not begun again for what changes no row', async () => {
  const test = plan('full');
  const operator = test.operator('index');
  await expect(operator.run()).rejects.toThrow();
  await operator.close();
  for (const shard of ['s0', 's1'])
    await shards.rows(
      shard,
      'ALTER TABLE public.people ALTER COLUMN value SET DEFAULT 7, ALTER COLUMN id SET STATISTICS 200',
    );
  const wanted = await rowsThere();
  await complete(test);
  expect(test.record.current.value).toMatchObject({ phase: 'done', copy: 1, failures: 0 });
  expect(await rowsThere()).toEqual(wanted);
});

it('takes TRUNCATE along like every other change', async () => {
  const before = await rowsThere();
  const test = plan('full');
  const operator = test.operator('index');
  await expect(operator.run()).rejects.toThrow();
  await operator.close();
  const writer = await shards.connectApplication(ownerOf());
  await writer.query({ text: 'TRUNCATE public.people_b0000' });
  await writer.query({
    text: `INSERT INTO public.people (id, amount, value, kind, kinds)
      SELECT id, amount, value, kind::regclass, kinds::regclass[] FROM jsonb_to_recordset('${JSON.stringify(before)}')
        AS r (id int, amount int, value int, kind text, kinds text[])`,
  });
  await writer.close();
  await complete(test);
  expect(test.record.current.value).toMatchObject({ phase: 'done', copy: 1, failures: 0 });
  expect(await rowsThere()).toEqual(before);
});

it('takes values along by their names whose binary form is a number of the server', async () => {
  const wanted = await rowsThere();
  await complete(plan('full'));
  expect(await rowsThere()).toEqual(wanted);
  expect(wanted[0]).toMatchObject({ kind: 'public.kind', kinds: '{public.kind,public.other}' });
});

it('takes no other sentinel for its own', async () => {
  const sessions = [await shards.connectOperator('s0'), await shards.connectOperator('s0')] as const;
  const [operator, stream] = sessions;
  await operator.query({ text: "SELECT pg_advisory_lock(hashtextextended('herdsman.move.m.second', 0))" });
  const arrive = (token: string) =>
    stream.query({
      text: `BEGIN; SET LOCAL lock_timeout = 100; INSERT INTO herdsman.move_sentinels (id, token, hold) VALUES ('m', '${token}', true)`,
    });
  await arrive('first');
  await stream.query({ text: 'ROLLBACK' });
  await expect(arrive('second')).rejects.toThrow('lock timeout');
  await Promise.all(sessions.map((session) => session.close()));
});
