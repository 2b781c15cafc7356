import { afterAll, beforeAll, expect, it } from 'vitest';
import { askAsOwner } from '../../src/postgres/ask-as-owner.ts';
import { statement } from '../../src/postgres/statement.ts';
import { makeWorld, rows, type World } from './world.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld('ask', 1);
  await world.shard(0).application.query({
    text: `CREATE FUNCTION public.rise(role text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('role', role, true); RETURN current_user; END $$;
      CREATE TABLE public.seen (who text);
      CREATE FUNCTION public.note() RETURNS text LANGUAGE sql AS 'INSERT INTO public.seen VALUES (current_user) RETURNING who'`,
  });
}, 60_000);
afterAll(() => world?.close());

const ask = (text: string, ...values: readonly string[]) =>
  askAsOwner(world.shard(0).operator, world.application, statement(text, ...values));

it('asks with the rights of the owner, and answers rows', async () => {
  const text = "SELECT current_user::text AS who, $1 || n AS given, '1 day'::interval::text AS span";
  expect(await ask(`${text} FROM generate_series(1, 2) n`, "it's ")).toEqual([
    { who: world.application, given: "it's 1", span: '1 day' },
    { who: world.application, given: "it's 2", span: '1 day' },
  ]);
  expect(await ask('SELECT 1 AS one WHERE false')).toEqual([]);
});

it.each(['none', 'herdsman'])('lets no function go back to the operator: %s', async (role) => {
  await expect(ask('SELECT public.rise($1) AS role', role)).rejects.toThrow(
    /cannot set parameter|permission/,
  );
});

it('says what to grant to an owner that may make nothing temporary', async () => {
  const { operator, application, database } = world.shard(0);
  const bystander = `${world.application}_bystander`;
  await operator.query({ text: `CREATE ROLE ${bystander}; GRANT ${bystander} TO ${world.application}` });
  const asked = () => askAsOwner(operator, bystander, statement('SELECT current_user::text AS who'));
  const grant = `GRANT TEMPORARY ON DATABASE "${database}" TO "${bystander}"`;
  await expect(asked()).rejects.toThrow(grant);
  await application.query({ text: grant });
  expect(await asked()).toEqual([{ who: bystander }]);
  await application.query({ text: `REVOKE TEMPORARY ON DATABASE "${database}" FROM "${bystander}"` });
  await operator.query({ text: `DROP ROLE ${bystander}` });
});

it('leaves nothing behind', async () => {
  const { operator } = world.shard(0);
  expect(await ask('SELECT public.note() AS who')).toEqual([{ who: world.application }]);
  expect(await rows(operator, 'SELECT FROM public.seen')).toEqual([]);
  expect(await rows(operator, "SELECT FROM pg_proc WHERE proname = 'herdsman_question'")).toEqual([]);
  expect(await rows(operator, 'SELECT current_user::text AS who')).toEqual([{ who: 'herdsman' }]);
});
