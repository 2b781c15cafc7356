import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { applyBatches, readCatalog, readLedger } from '../../src/postgres/catalog.ts';
import { planMigrations } from '../../src/postgres/migration-plan.ts';
import { applyMigration } from '../../src/postgres/migrations.ts';
import { layoutOf } from '../../src/sharding/layout.ts';
import { initialMap } from '../../src/sharding/map.ts';
import { leavesOf, makeWorld, migrate, open, rows, type World } from './world.ts';

const none = layoutOf([]);
let world: World;

beforeAll(async () => {
  world = await makeWorld('migrations', 3);
}, 120_000);
afterAll(() => world?.close());

const first = {
  name: '001-plain',
  sql: 'CREATE TABLE plain (id int PRIMARY KEY);\nCREATE INDEX ON plain (id);',
};

/** Runs one migration, out of the order of the spec, and answers its outcome. */
async function attempt(sql: string, shard = world.shard(0), layout = none) {
  const position = (await readLedger(shard.operator)).length + 1;
  const migration = { name: `m${position}`, sql };
  return applyMigration(shard.application, { shard: shard.name, migration, position, layout });
}

async function exists(table: string, shard = world.shard(0)): Promise<boolean> {
  const [row] = await rows<{ there: boolean }>(
    shard.operator,
    'SELECT to_regclass($1) IS NOT NULL AS there',
    `public.${table}`,
  );
  return row?.there === true;
}

describe('migrations', () => {
  it('are applied once, as the application, and entered into the ledger', async () => {
    const shard = world.shard(0);
    expect(await migrate(shard, [first], none)).toBeUndefined();
    expect(await migrate(shard, [first], none)).toBeUndefined();
    const [table] = await rows(
      shard.operator,
      "SELECT tableowner FROM pg_tables WHERE tablename = 'plain' AND schemaname = 'public'",
    );
    expect(table).toEqual({ tableowner: world.application });
    expect(await readLedger(shard.operator)).toMatchObject([{ name: '001-plain', position: 1 }]);
  });

  it('are applied exactly once by two operators at the same time', async () => {
    const shard = world.shard(1);
    const sql = 'CREATE TABLE counted (n int); INSERT INTO counted VALUES (1); SELECT pg_sleep(0.1)';
    const input = { shard: 's1', migration: { name: 'counted', sql }, position: 1, layout: none };
    const other = await open(world.application, world.password, shard.database);
    const outcomes = await Promise.all([
      applyMigration(shard.application, input),
      applyMigration(other, input),
    ]);
    await other.close();
    expect(outcomes.map((outcome) => outcome.kind).sort()).toEqual(['already', 'applied']);
    expect(await rows(shard.application, 'SELECT n FROM public.counted')).toEqual([{ n: 1 }]);
  });

  it('that are edited, moved or taken away stop with what to do', async () => {
    const ledger = await readLedger(world.shard(0).operator);
    const other = { name: '002', sql: 'SELECT 1' };
    expect(planMigrations([{ ...first, sql: 'SELECT 2' }], ledger)).toMatchObject({
      kind: 'edited',
      name: '001-plain',
      message: expect.stringContaining('put its text back'),
    });
    expect(planMigrations([other, first], ledger)).toMatchObject({ kind: 'reordered' });
    expect(planMigrations([other], ledger)).toMatchObject({ kind: 'removed' });
    expect(planMigrations([first, other], ledger)).toMatchObject({
      kind: 'apply',
      position: 2,
      migration: other,
    });
  });

  it('that fail on one shard name shard, migration, line and error, leave nothing, and go on when corrected', async () => {
    for (const index of [0, 2]) await world.shard(index).application.query({ text: 'SELECT 1' });
    await world.shard(2).application.query({ text: 'CREATE TABLE public.twice (id int)' });
    const sql = 'CREATE TABLE before (id int);\n\nCREATE TABLE twice (id int);';
    const ok = await attempt(sql, world.shard(0));
    expect(ok).toEqual({ kind: 'applied' });
    const failed = await attempt(sql, world.shard(2));
    expect(failed).toMatchObject({
      kind: 'failed',
      sqlstate: '42P07',
      message: expect.stringMatching(/^shard s2, migration "m1".*relation "twice" already exists/),
    });
    expect(await exists('before', world.shard(2))).toBe(false);
    expect(await readLedger(world.shard(2).operator)).toEqual([]);
    await world.shard(2).application.query({ text: 'DROP TABLE public.twice' });
    expect(await attempt(sql, world.shard(2))).toEqual({ kind: 'applied' });
  });

  it('fail before other shards commit when they break what is checked at COMMIT', async () => {
    const shard = world.shard(0);
    await attempt(`CREATE TABLE parents (id int PRIMARY KEY);
      CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`);
    const position = (await readLedger(shard.operator)).length + 1;
    const migration = { name: 'orphan', sql: 'INSERT INTO children VALUES (1)' };
    const arrivals: string[] = [];
    const beforeCommit = async () => {
      arrivals.push(shard.name);
    };
    const input = { shard: shard.name, migration, position, layout: none, beforeCommit };
    expect(await applyMigration(shard.application, input)).toMatchObject({
      kind: 'failed',
      sqlstate: '23503',
    });
    expect(arrivals).toEqual([]);
  });

  it('tell the line of a mistake', async () => {
    expect(await attempt('SELECT 1;\n-- ä 😀\nSELECT nonsense FROM plain;')).toMatchObject({
      kind: 'failed',
      sqlstate: '42703',
      line: 3,
      message: expect.stringContaining('(line 3)'),
    });
    expect(await attempt('SELECT 1;\nCREATE TABLEX x ();')).toMatchObject({ kind: 'failed', line: 2 });
  });

  it.each([
    ['CREATE TABLE half (id int); COMMIT; CREATE TABLE half2 (id int)', 'leave out BEGIN, COMMIT'],
    ['CREATE TABLE half (id int); ROLLBACK', 'leave out BEGIN, COMMIT'],
    ['BEGIN; CREATE TABLE half (id int); COMMIT', 'leave out BEGIN, COMMIT'],
    ['CREATE TABLE half (id int); DO $$ BEGIN COMMIT; END $$', 'invalid transaction termination'],
    ['CREATE TABLE half (id int); CREATE INDEX CONCURRENTLY ON plain (id)', 'without CONCURRENTLY'],
    ['CREATE TABLE half (id int); COPY half FROM STDIN', 'Write INSERT'],
    ['CREATE TABLE half (id int); VACUUM plain', 'VACUUM cannot run inside a transaction block'],
    ['CREATE TABLE half (id int); CREATE DATABASE elsewhere', 'CREATE DATABASE cannot'],
    ['CREATE TABLE half (id int); CREATE ROLE mighty SUPERUSER', 'Migrations run as the application role'],
    ['CREATE TABLE half (id int); DELETE FROM herdsman.migrations', 'permission denied'],
    ['CREATE TABLE half (id int); SELECT * FROM herdsman.logins', 'permission denied'],
    ['CREATE TABLE half (id int); SET ROLE herdsman', 'permission denied'],
  ])('leave nothing of %s', async (sql, advice) => {
    const before = await readLedger(world.shard(0).operator);
    expect(await attempt(sql)).toMatchObject({ kind: 'failed', message: expect.stringContaining(advice) });
    expect(await exists('half')).toBe(false);
    expect(await readLedger(world.shard(0).operator)).toEqual(before);
  });

  it('may change the search path and the time zone, and do not keep them from the ledger', async () => {
    const sql = 'CREATE SCHEMA other; SET search_path = other; CREATE TABLE here (id int)';
    expect(await attempt(sql)).toEqual({ kind: 'applied' });
    expect(await exists('here')).toBe(false);
  });

  it('are tried again while locks are not to be had, and succeed after', async () => {
    const shard = world.shard(0);
    const blocker = await open(world.application, world.password, shard.database);
    await blocker.query({ text: 'BEGIN; LOCK TABLE public.plain' });
    const position = (await readLedger(shard.operator)).length + 1;
    const migration = {
      name: `m${position}`,
      sql: 'ALTER TABLE plain ADD COLUMN late int',
      lockTimeoutMs: 50,
    };
    const input = { shard: 's0', migration, position, layout: none, attempts: 1 };
    expect(await applyMigration(shard.application, input)).toMatchObject({ kind: 'busy' });
    const running = applyMigration(shard.application, { ...input, attempts: 50 });
    await waiting(shard.database);
    await blocker.query({ text: 'COMMIT' });
    expect(await running).toEqual({ kind: 'applied' });
    await blocker.close();
  });

  it('whose answer is lost are unknown, and found in the ledger or not', async () => {
    const shard = world.shard(0);
    const doomed = await open(world.application, world.password, shard.database);
    const position = (await readLedger(shard.operator)).length + 1;
    const migration = {
      name: `m${position}`,
      sql: 'CREATE TABLE doomed (id int); SELECT pg_terminate_backend(pg_backend_pid())',
    };
    const outcome = await applyMigration(doomed, { shard: 's0', migration, position, layout: none });
    expect(outcome).toMatchObject({ kind: 'unknown' });
    expect(doomed.closed).toBe(true);
    expect(await exists('doomed')).toBe(false);
  });
});

/** Waits until somebody waits for a lock in the database. */
async function waiting(database: string): Promise<void> {
  for (;;) {
    const found = await rows(
      world.shard(0).operator,
      "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
      database,
    );
    if (found.length > 0) return;
  }
}

describe('migrations of distributed tables', () => {
  const tables: Table[] = [
    { name: 'kinds', strategy: 'reference' },
    { name: 'parents', strategy: 'hash', key: 'id', group: 'family', buckets: 4 },
    { name: 'children', strategy: 'hash', key: 'parent_id', group: 'family' },
    { name: 'others', strategy: 'hash', key: 'id', buckets: 2 },
  ];
  const layout = layoutOf(tables);
  const map = initialMap('keys', layout, [{ name: 's0' }]);
  let keys: World;

  beforeAll(async () => {
    keys = await makeWorld('keys', 1);
    const failed = await attempt(
      `CREATE TABLE kinds (id int PRIMARY KEY);
      CREATE TABLE parents (id int PRIMARY KEY) PARTITION BY HASH (id);
      CREATE TABLE others (id int PRIMARY KEY) PARTITION BY HASH (id);
      CREATE TABLE children (parent_id int, id int, kind int CONSTRAINT child_kind REFERENCES kinds ON UPDATE CASCADE,
        PRIMARY KEY (parent_id, id),
        CONSTRAINT child_parent FOREIGN KEY (parent_id) REFERENCES parents ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
      ) PARTITION BY HASH (parent_id)`,
      keys.shard(0),
      layout,
    );
    if (failed.kind !== 'applied') throw new Error(JSON.stringify(failed));
    await applyBatches(keys.shard(0).operator, (await leavesOf(keys, keys.shard(0), map, layout)).batches);
  }, 60_000);
  afterAll(() => keys?.close());

  const settled = async () => {
    expect(await leavesOf(keys, keys.shard(0), map, layout)).toEqual({ batches: [], problems: [] });
    const { foreignKeys } = await readCatalog(keys.shard(0).operator);
    expect(foreignKeys.filter((key) => !/_b[0-9]{4}$/.test(key.table))).toEqual([]);
    return foreignKeys;
  };

  it('have their foreign keys on the leaves, as they were written', async () => {
    const found = await settled();
    expect(found).toHaveLength(8);
    expect(found).toContainEqual(
      expect.objectContaining({
        table: 'children_b0002',
        name: 'child_parent',
        referencedTable: 'parents_b0002',
        onDelete: 'CASCADE',
        deferrable: true,
        initiallyDeferred: true,
      }),
    );
    expect(found).toContainEqual(
      expect.objectContaining({
        table: 'children_b0002',
        name: 'child_kind',
        referencedTable: 'kinds',
        onUpdate: 'CASCADE',
        deferrable: false,
      }),
    );
  });

  it('may add columns, indexes and foreign keys when there are leaves with rows', async () => {
    const app = keys.shard(0).application;
    await app.query({ text: 'INSERT INTO public.kinds VALUES (1)' });
    await app.query({ text: 'INSERT INTO public.parents SELECT generate_series(1, 50)' });
    await app.query({ text: 'INSERT INTO public.children SELECT n, n, 1 FROM generate_series(1, 50) n' });
    const sql = `ALTER TABLE children ADD COLUMN second_kind int DEFAULT 1 REFERENCES kinds;
      CREATE INDEX children_kind ON children (kind);
      ALTER TABLE children ADD COLUMN previous int, ADD FOREIGN KEY (parent_id, previous) REFERENCES children (parent_id, id)`;
    expect(await attempt(sql, keys.shard(0), layout)).toEqual({ kind: 'applied' });
    expect(await settled()).toHaveLength(16);
    const insert = app.query({ text: 'INSERT INTO public.children VALUES (7, 100, 1, 1, 99)' });
    await expect(insert).rejects.toMatchObject({ sqlstate: '23503' });
    const [indexes] = await rows(
      app,
      "SELECT count(*)::int AS n FROM pg_indexes WHERE tablename LIKE 'children_b%' AND indexdef LIKE '%(kind)'",
    );
    expect(indexes).toEqual({ n: 4 });
  });

  it('fail as a whole when rows break the new foreign key', async () => {
    const sql = 'ALTER TABLE children ADD COLUMN third int DEFAULT 5 REFERENCES kinds';
    expect(await attempt(sql, keys.shard(0), layout)).toMatchObject({ kind: 'failed', sqlstate: '23503' });
    await settled();
  });

  it.each([
    [
      'ALTER TABLE others ADD CONSTRAINT o FOREIGN KEY (id) REFERENCES parents',
      'put both tables into one group',
    ],
    ['CREATE TABLE local (id int REFERENCES parents)', 'distribute both tables in one group'],
    [
      'ALTER TABLE children ADD COLUMN p int, ADD FOREIGN KEY (p) REFERENCES parents (id)',
      'FOREIGN KEY (parent_id, …) REFERENCES parents (id, …)',
    ],
  ])('refuse %s', async (sql, advice) => {
    expect(await attempt(sql, keys.shard(0), layout)).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining(advice),
    });
    await settled();
  });

  it('drop a foreign key by herdsman.drop_foreign_key', async () => {
    const sql = "SELECT herdsman.drop_foreign_key('children', 'child_kind')";
    expect(await attempt(sql, keys.shard(0), layout)).toEqual({ kind: 'applied' });
    expect((await settled()).some((key) => key.name === 'child_kind')).toBe(false);
    await keys.shard(0).application.query({ text: 'INSERT INTO public.children VALUES (8, 100, 77)' });
  });
});
