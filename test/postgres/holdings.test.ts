import { afterAll, beforeAll, expect, it } from 'vitest';
import { readHoldings } from '../../src/postgres/holdings.ts';
import { sharedPostgres } from '../support/shared-postgres.ts';
import { makeWorld, open, type World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await makeWorld('holdings', 2);
}, 60_000);
afterAll(() => world?.close());

const held = () => readHoldings(world.shard(0).operator);

it('are tables with rows in all schemas of the application, and large objects', async () => {
  const { application } = world.shard(0);
  expect((await held()).tablesWithRows).toEqual([]);
  await application.query({
    text: `CREATE TABLE public.orders (id int) PARTITION BY HASH (id);
      CREATE TABLE public.orders_b0000 PARTITION OF public.orders FOR VALUES WITH (modulus 1, remainder 0);
      CREATE TABLE public.notes (id int);
      CREATE SCHEMA audit;
      CREATE TABLE audit."Log" (id int);
      CREATE MATERIALIZED VIEW audit.digest AS SELECT count(*) FROM audit."Log"`,
  });
  expect((await held()).tablesWithRows).toEqual([]);
  await application.query({
    text: `INSERT INTO public.orders VALUES (1); INSERT INTO audit."Log" VALUES (1); SELECT lo_create(0)`,
  });
  expect((await held()).tablesWithRows).toEqual(['orders', 'audit.Log', 'pg_catalog.pg_largeobject']);
});

it('are tables that may not be read: they may have rows', async () => {
  const { operator, database } = world.shard(1);
  const { user, password } = sharedPostgres();
  const superuser = await open(user, password, database);
  await superuser.query({ text: 'CREATE SCHEMA hidden; CREATE TABLE hidden.secrets ()' });
  await superuser.close();
  expect((await readHoldings(operator)).tablesWithRows).toEqual(['hidden.secrets']);
});

it('are other databases, and their prepared transactions', async () => {
  const { application } = world.shard(1);
  expect((await held()).otherDatabases).toContain('holdings_s1');
  expect((await held()).otherDatabases).not.toContain('holdings_s0');
  const before = (await held()).preparedTransactions;
  await application.query({ text: 'BEGIN' });
  await application.query({ text: 'CREATE TABLE public.pending ()' });
  await application.query({ text: "PREPARE TRANSACTION 'holdings'" });
  expect((await held()).preparedTransactions).toBe(before + 1);
  await application.query({ text: "ROLLBACK PREPARED 'holdings'" });
});
