import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { copyReferenceTables } from '../../src/postgres/reference-copy.ts';
import { printsOf } from '../../src/postgres/reference-print.ts';
import { makeWorld, open, rows, type World } from './world.ts';

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

  it('keep writers out meanwhile when the table becomes a reference table', async () => {
    const [source, target] = [world.shard(0).application, world.shard(1).application];
    await target.query({ text: 'TRUNCATE public.cities, public.countries' });
    const writer = await open(world.application, world.password, world.shard(0).database);
    await writer.query({ text: 'BEGIN' });
    await writer.query({ text: "INSERT INTO public.countries VALUES ('it')" });
    const copying = copyReferenceTables(source, target, ['countries'], { lock: true });
    await writer.query({ text: 'COMMIT' });
    expect(await copying).toEqual([{ table: 'countries', rows: 3, already: false }]);
    await writer.query({ text: "DELETE FROM public.countries WHERE code = 'it'" });
    await writer.close();
  });

  describe('of another time', () => {
    const tables = ['cities', 'countries'];
    const replace = () =>
      copyReferenceTables(world.shard(0).application, world.shard(1).application, tables, {
        replace: tables,
      });
    const prints = (index: number) => printsOf(world.shard(index).operator, tables);
    const stale =
      "TRUNCATE public.cities, public.countries; INSERT INTO public.countries VALUES ('de'), ('fr')";

    it('are told by their prints, also when there are as many rows', async () => {
      await world.shard(1).application.query({
        // Nobody's function is run for it.
        text: `${stale}; CREATE FUNCTION public.spell(public.countries) RETURNS text LANGUAGE plpgsql
            AS 'BEGIN RAISE ''run by %'', current_user; END';
          CREATE CAST (public.countries AS text) WITH FUNCTION public.spell(public.countries)`,
      });
      const [source, target] = [await prints(0), await prints(1)];
      expect(source.get('countries')).toMatch(/^2\//);
      expect(target.get('countries')).toMatch(/^2\//);
      expect(target.get('countries')).not.toBe(source.get('countries'));
      expect(target.get('cities')).toBe('0/0');
      await world.shard(1).application.query({ text: 'DROP FUNCTION public.spell CASCADE' });
    });

    it('give way as a whole, with an empty table that refers to them', async () => {
      const target = world.shard(1).application;
      await target.query({
        text: `${stale}; CREATE TABLE public.visits (city int REFERENCES public.cities)`,
      });
      expect(await replace()).toMatchObject([
        { rows: 2, already: false },
        { rows: 5000, already: false },
      ]);
      expect(await prints(1)).toEqual(await prints(0));
    });

    it('stay while a row of another table refers to them', async () => {
      const target = world.shard(1).application;
      await target.query({ text: 'INSERT INTO public.visits VALUES (1)' });
      const before = await prints(1);
      await expect(replace()).rejects.toThrow('"visits" has rows');
      expect(await prints(1)).toEqual(before);
      await target.query({ text: 'DROP TABLE public.visits' });
    });

    it('stay when the shard has got a bucket meanwhile', async () => {
      await world.shard(1).application.query({ text: stale });
      const { operator } = world.shard(1);
      await operator.query({
        text: 'CREATE TABLE own.trade_b0001 (bucket int, epoch bigint); INSERT INTO own.trade_b0001 VALUES (1, 1)',
      });
      await expect(replace()).rejects.toThrow('owns buckets by now');
      expect(await rows(world.shard(1).application, 'SELECT FROM public.countries')).toHaveLength(2);
      await operator.query({ text: 'DROP TABLE own.trade_b0001' });
    });
  });
});
