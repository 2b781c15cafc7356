import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { findConversionObstacles } from '../../src/postgres/conversion/obstacles.ts';
import { layoutOf } from '../../src/sharding/layout.ts';
import { Conversions } from '../support/conversion.ts';
import { leavesOf, makeWorld, rows, type World } from './world.ts';

describe('every strategy', () => {
  let world: World;
  beforeAll(async () => {
    world = await makeWorld('convertkinds', 1);
  });
  afterAll(() => world?.close());

  it.each<[string, Table]>([
    ['range', { name: 't', strategy: 'range', key: 'k', bounds: [{ to: '100' }, { from: '100' }] }],
    [
      'range with a default',
      { name: 't', strategy: 'range', key: 'k', bounds: [{ to: '50' }], defaultBucket: true },
    ],
    [
      'geographic',
      {
        name: 't',
        strategy: 'geographic',
        key: 'region',
        hashKey: 'k',
        regions: [
          { name: 'north', values: ['a', 'b'], buckets: 3 },
          { name: 'south', values: ['c'], shards: ['s0'] },
        ],
      },
    ],
    [
      'directory',
      { name: 't', strategy: 'directory', key: 'k', buckets: 4, tenants: [{ value: '7' }, { value: '8' }] },
    ],
  ])('takes rows in: %s', async (_, table) => {
    const shard = world.shard(0);
    await shard.application.query({
      text: `CREATE TABLE public.t (k int, region text, id int, what text, PRIMARY KEY (k, region, id));
        INSERT INTO public.t SELECT n % 200, substr('abc', n % 3 + 1, 1), n, 'x' FROM generate_series(1, 2000) n`,
    });
    const all = () => rows(shard.application, 'SELECT count(*), sum(k), sum(id), max(region) FROM public.t');
    const before = await all();
    const conversions = new Conversions(world);
    conversions.tables = [table];
    conversions.retentionMs = 0;
    await conversions.run('t', (plan) => plan.kind === 'wait');
    await conversions.adopt();
    await conversions.run('t', (plan) => plan.kind === 'none');
    expect(await all()).toEqual(before);
    const layout = layoutOf([table]);
    const plan = await leavesOf(world, shard, conversions.map, layout);
    expect(plan.problems).toEqual([]);
    expect(plan.batches.map(({ title }) => title)).toEqual(['mirror of the map']);
    const markers = conversions.map.groups
      .flatMap((group) => group.buckets)
      .map(({ id }) => `own.t_b${String(id).padStart(4, '0')}`);
    await shard.application.query({ text: 'DROP TABLE public.t' });
    await shard.operator.query({
      text: `DROP TABLE ${markers.join(', ')}; DELETE FROM herdsman.shard_map; DELETE FROM herdsman.tables`,
    });
  });
});

describe('what cannot be converted', () => {
  let world: World;
  beforeAll(async () => {
    world = await makeWorld('convertbad', 1);
  });
  afterAll(() => world?.close());

  it.each([
    ['UniqueWithoutKey', 'CREATE UNIQUE INDEX ON public.t (email)', 'make it (customer, email)'],
    ['RowSecurity', 'ALTER TABLE public.t ENABLE ROW LEVEL SECURITY', 'DISABLE it'],
    ['Inheritance', 'CREATE TABLE public.child () INHERITS (public.t)', 'NO INHERIT'],
    ['Dependent', 'CREATE MATERIALIZED VIEW public.m AS SELECT * FROM public.t', 'materialized view'],
    [
      'Dependent',
      "CREATE FUNCTION public.f(public.t) RETURNS int LANGUAGE sql AS 'SELECT 1'",
      'function public.f',
    ],
    ['Unlogged', 'ALTER TABLE public.t SET UNLOGGED', 'SET LOGGED'],
    ['NoSuchColumn', 'ALTER TABLE public.t RENAME COLUMN customer TO client', 'write one of'],
    [
      'TransitionTable',
      `CREATE FUNCTION public.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER g AFTER INSERT ON public.t REFERENCING NEW TABLE AS fresh FOR EACH ROW EXECUTE FUNCTION public.g()`,
      'FOR EACH STATEMENT',
    ],
  ])('is told: %s (%s)', async (code, text, advice) => {
    const { application, operator } = world.shard(0);
    await application.query({
      text: 'CREATE TABLE public.t (customer int, id int, email text, PRIMARY KEY (customer, id))',
    });
    const [group] = layoutOf([{ name: 't', strategy: 'hash', key: 'customer' }]).groups;
    if (group === undefined) throw new Error('no group');
    expect(await findConversionObstacles(operator, group)).toEqual([]);
    await application.query({ text });
    expect(await findConversionObstacles(operator, group)).toMatchObject([
      { code, message: expect.stringContaining(advice) },
    ]);
    await application.query({ text: 'DROP TABLE public.t CASCADE' });
  });
});
