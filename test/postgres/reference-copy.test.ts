import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { copyReferenceTables } from '../../src/postgres/reference-copy.ts';
import { makeWorld, rows, type World } from './world.ts';

let world: World;
const schema = `
CREATE TABLE public.cities (id int PRIMARY KEY, country text, name text, twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE public.countries (code text PRIMARY KEY, info jsonb);
ALTER TABLE public.cities ADD FOREIGN KEY (country) REFERENCES public.countries`;

beforeAll(async () => {
  world = await makeWorld('refcopy', 2);
  for (const shard of world.shards) await shard.application.query({ text: schema });
  const source = world.shard(0).application;
  await source.query({
    text: `INSERT INTO public.countries VALUES ('de', '{"a": 1}'), ('fr', NULL);
    INSERT INTO public.cities SELECT n, CASE WHEN n % 2 = 0 THEN 'de' ELSE 'fr' END, E'Zwei\\tbrücken ' || n FROM generate_series(1, 5000) n`,
  });
}, 60_000);
afterAll(() => world?.close());

const copy = () => copyReferenceTables(world.shard(0).application, world.shard(1).application, ['cities']);

describe('copies of reference tables', () => {
  it('are made after what their foreign keys need, whole, once, and without running triggers', async () => {
    const target = world.shard(1).application;
    await target.query({
      text: `CREATE FUNCTION public.spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'spoilt'; RETURN NEW; END $$;
        CREATE TRIGGER spoil BEFORE INSERT ON public.cities FOR EACH ROW EXECUTE FUNCTION public.spoil();
        ALTER TABLE public.cities ENABLE ALWAYS TRIGGER spoil`,
    });
    expect(await copy()).toEqual([
      { table: 'countries', rows: 2, already: false },
      { table: 'cities', rows: 5000, already: false },
    ]);
    expect(await rows(target, 'SELECT code FROM public.countries ORDER BY code')).toEqual([
      { code: 'de' },
      { code: 'fr' },
    ]);
    expect(await rows(target, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'spoil'")).toEqual([
      { tgenabled: 'A' },
    ]);
    const content = (index: number) =>
      rows(
        world.shard(index).application,
        'SELECT md5(string_agg(c::text, chr(10) ORDER BY id)) FROM public.cities c',
      );
    expect(await content(1)).toEqual(await content(0));
    expect(await copy()).toMatchObject([{ already: true }, { already: true }]);
  });

  it('are refused, as a whole, when the target has other rows', async () => {
    const target = world.shard(1).application;
    await target.query({ text: 'TRUNCATE public.cities, public.countries' });
    await target.query({ text: "INSERT INTO public.countries VALUES ('de')" });
    await expect(copy()).rejects.toThrow('TRUNCATE it there');
    expect(await rows(target, 'SELECT code FROM public.countries')).toEqual([{ code: 'de' }]);
    expect(await rows(target, 'SELECT FROM public.cities')).toEqual([]);
  });
});
