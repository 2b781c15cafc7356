import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Connections } from '../../src/postgres/connections.ts';
import { readDatabase } from '../../src/resources/sharded-cluster/observe-database.ts';
import { makeWorld, type World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await makeWorld('observed', 1);
  await world.shard(0).application.query({
    text: `CREATE TABLE public.orders (id int PRIMARY KEY) PARTITION BY HASH (id);
      CREATE TABLE public.orders_b0000 PARTITION OF public.orders FOR VALUES WITH (modulus 1, remainder 0);
      INSERT INTO public.orders VALUES (1)`,
  });
}, 60_000);
afterAll(() => world?.close());

const read = async (ifLocked?: Parameters<typeof readDatabase>[1]['ifLocked']) => {
  const connections: Pick<Connections, 'use'> = { use: (_, work) => work(world.shard(0).operator) };
  const reading = await readDatabase(connections as Connections, {
    member: 'shop-s0-0',
    options: {} as Parameters<typeof readDatabase>[1]['options'],
    isSetUp: true,
    parameters: undefined,
    newGroups: [],
    remembered: undefined,
    ifLocked,
  });
  if (reading.state !== 'present') throw new Error(reading.state);
  return reading.value;
};

it('does not wait for who holds a table exclusively, and says so or what was known', async () => {
  const before = await read();
  expect(before).toMatchObject({ tablesWithRows: ['orders'] });
  const { application } = world.shard(0);
  for (const table of ['orders', 'orders_b0000']) {
    await application.query({ text: 'BEGIN' });
    await application.query({ text: `LOCK TABLE ONLY public.${table} IN ACCESS EXCLUSIVE MODE` });
    expect(await read()).toMatchObject({ isSetUp: true, catalog: undefined });
    expect(await read(before)).toMatchObject({ catalog: before.catalog, tablesWithRows: ['orders'] });
    await application.query({ text: 'ROLLBACK' });
  }
  expect((await read()).catalog).toEqual(before.catalog);
});
