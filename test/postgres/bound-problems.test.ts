import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { readBoundProblems } from '../../src/postgres/bound-problems.ts';
import { layoutOf } from '../../src/sharding/layout.ts';
import { makeWorld, type World } from './world.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld('bounds', 1);
  await world.shard(0).application.query({
    text: `CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 4);
      CREATE TABLE public.texts (id text PRIMARY KEY) PARTITION BY RANGE (id);
      CREATE TABLE public.days (id date PRIMARY KEY) PARTITION BY RANGE (id);
      CREATE TABLE public.english (id text COLLATE "en-x-icu" PRIMARY KEY) PARTITION BY RANGE (id);
      CREATE TABLE public.shorts (id public.short PRIMARY KEY) PARTITION BY RANGE (id);
      CREATE TABLE public.numbers (id int PRIMARY KEY) PARTITION BY LIST (id);
      CREATE TABLE public.plain (id date PRIMARY KEY)`,
  });
}, 60_000);
afterAll(() => world?.close());

const range = (name: string, ...pairs: readonly (readonly [(string | undefined)?, string?])[]): Table => ({
  name,
  strategy: 'range',
  key: 'id',
  bounds: pairs.map(([from, to]) => ({
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
  })),
});
const tenants = (...values: readonly string[]): Table => ({
  name: 'numbers',
  strategy: 'directory',
  key: 'id',
  tenants: values.map((value) => ({ value })),
});
const regions = (...values: readonly string[]): Table => ({
  name: 'numbers',
  strategy: 'geographic',
  key: 'id',
  regions: values.map((value, index) => ({ name: `r${index}`, values: [value] })),
});

async function problemsOf(table: Table): Promise<string[]> {
  const problems = await readBoundProblems(world.shard(0).operator, layoutOf([table]).groups);
  return problems.map(({ message }) => message);
}

it.each([
  ['ranges in order', range('texts', [undefined, 'g'], ['g', 'p'], ['p'])],
  ['ranges with a gap', range('texts', ['a', 'b'], ['c', 'd'])],
  // "a" before "B", unlike by bytes.
  ['an order of a collation', range('english', ['a', 'B'], ['B', 'c'])],
  ['values', tenants('1', '02')],
  ['a table that is not there yet', { ...range('texts', ['b', 'a']), name: 'nowhere' }],
  ['a key that is not there', { ...range('texts', ['b', 'a']), key: 'none' }],
])('has nothing against %s', async (_, table) => {
  expect(await problemsOf(table)).toEqual([]);
});

it.each([
  [
    'an empty range',
    range('texts', ['m', 'c']),
    /"texts": range m to c is empty in the order of the key \(text/,
  ],
  ['the order by bytes', range('texts', ['a', 'B']), /range a to B is empty/],
  ['ranges out of order', range('texts', ['a', 'm'], ['k', 'z']), /ranges a to m and k to z overlap/],
  [
    'an open range inside',
    range('texts', [undefined, 'm'], ['c']),
    /ranges MINVALUE to m and c to MAXVALUE overlap/,
  ],
  [
    'a date that is none',
    range('days', ['2025-01-01', '2025-13-01']),
    /no key of table "days" \(id date\).*2025-13-01/,
  ],
  [
    'the same of a plain table',
    range('plain', ['soon', 'later']),
    /no key of table "plain" \(id date\).*soon/,
  ],
  [
    'what a domain refuses',
    range('shorts', ['a', 'bcdef']),
    /no key of table "shorts".*violates check constraint/,
  ],
  ['a tenant that is no number', tenants('acme'), /no key of table "numbers" \(id integer\).*acme/],
  [
    'a tenant written twice',
    tenants('1', '7', '01'),
    /"1" and "01" are the same key \(integer\): write it once/,
  ],
  ['a value in two regions', regions('5', '+5'), /"5" and "\+5" are the same key/],
])('refuses %s', async (_, table, message) => {
  const problems = await problemsOf(table);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(message);
});
