import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import { columnsOf, digest } from '../../src/postgres/move/digest.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';

let server: PostgresServer;
let connection: Connection;

beforeAll(async () => {
  server = await startPostgres();
  const { host, port, user, password } = server;
  connection = await connect({ host, port, database: 'postgres', user, password, tls: 'off' });
  await connection.query({
    text: `CREATE TYPE public.mood AS ENUM ('sad', 'glad'); CREATE DOMAIN public.price AS numeric`,
  });
}, 60_000);
afterAll(async () => {
  await connection?.close();
  await server?.stop();
});

/** The digest of rows of a table that is made for them. */
async function of(columns: string, rows: string, verify: 'full' | 'counts' = 'full') {
  await connection.query({ text: `DROP TABLE IF EXISTS public.t; CREATE TABLE public.t (${columns})` });
  await connection.query({ text: `INSERT INTO public.t (a, b) VALUES ${rows}` });
  const found = await columnsOf(connection, 'public.t');
  return digest(connection, [{ qualified: 'public.t' }], found, verify);
}

/** Rows that differ though PostgreSQL, or a hash that it has, takes them for the same, by the type of both columns. */
const different: readonly (readonly [type: string, rows: string, others: string])[] = [
  ['numeric', '(5, 1)', '(-5, 1)'],
  ['numeric', '(1.0, 1)', '(1.00, 1)'],
  ['numeric', '(1, 1)', '(10000, 10000)'],
  ['numeric', '(5, 50000)', '(50000, 5)'],
  ['numeric', "('NaN', 1)", "('Infinity', 1)"],
  ['numeric', '(0, 0)', '(NULL, NULL)'],
  ['numeric', '(0, NULL)', '(NULL, 0)'],
  ['public.price', '(5, 1)', '(-5, 1)'],
  ['float8', "('-0', 1)", '(0, 1)'],
  ['float8', '(0, 1)', '(NULL, 1)'],
  ['float4', '(0, 1)', '(NULL, 1)'],
  ['int8', '(0, 1)', '(4294967297, 1)'],
  ['int8', '(-1, 1)', '(4294967295, 1)'],
  ['int8', '(0, 1)', '(NULL, 1)'],
  ['int4', '(1, 2)', '(2, 1)'],
  ['int4', '(0, 1)', '(NULL, 1)'],
  ['int2', '(1, 1)', '(2, 2)'],
  ['bool', '(true, false)', '(false, true)'],
  ['bool', '(true, false)', '(true, NULL)'],
  ['date', "('2024-01-01', '2024-01-02')", "('2024-01-02', '2024-01-01')"],
  ['time', "('00:00:00', '00:00')", "('01:11:34.967297', '00:00')"],
  ['timestamp', "('2000-01-01', '2000-01-01')", "('2000-01-01 01:11:34.967297', '2000-01-01')"],
  ['timestamptz', "('2000-01-01 00:00Z', now())", "('2000-01-01 01:11:34.967297Z', now())"],
  ['text', "('', 'a')", "(NULL, 'a')"],
  ['text', "('a', '')", "('', 'a')"],
  ['varchar', "('a', '')", "('A', '')"],
  ['char(3)', "('a', 'b')", "('b', 'a')"],
  ['bytea', "('a', '')", "('', 'a')"],
  ['uuid', "(md5('a')::uuid, NULL)", "(NULL, md5('a')::uuid)"],
  ['interval', "('1 day', '0')", "('24 hours', '0')"],
  ['jsonb', `('{"a": 1}', 'null')`, `('{"a": 1.0}', 'null')`],
  ['json', `('{"a":1}', 'null')`, `('{"a": 1}', 'null')`],
  ['public.mood', "('sad', 'glad')", "('glad', 'sad')"],
  ['int[]', "('{1,NULL}', '{}')", "('{NULL,1}', '{}')"],
  ['float8[]', "('{0}', '{}')", "('{-0}', '{}')"],
];

describe('a digest', () => {
  it.each(different)('tells rows of %s apart: %s and %s', async (type, rows, others) => {
    const columns = `a ${type}, b ${type}`;
    expect(await of(columns, rows)).not.toEqual(await of(columns, others));
    expect(await of(columns, rows)).toMatchObject({ rows: '1' });
  });

  it('tells apart what exchanges values between rows', async () => {
    for (const type of ['int4', 'int8', 'text', 'numeric']) {
      const columns = `a ${type}, b ${type}`;
      expect(await of(columns, '(1, 2), (3, 4)')).not.toEqual(await of(columns, '(1, 4), (3, 2)'));
    }
  });

  it('is the same in whatever order rows and columns are', async () => {
    const first = await of('a int8, b text', "(1, 'x'), (2, NULL), (NULL, 'z')");
    expect(await of('b text, a int8', "(NULL, 'z'), (2, NULL), (1, 'x')")).toEqual(first);
    expect(first.rows).toBe('3');
  });

  it('has no hash when rows are only counted, and none of no rows', async () => {
    expect(await of('a int, b int', '(1, 2), (3, 4)', 'counts')).toEqual({ rows: '2', hash: '' });
    await connection.query({ text: 'TRUNCATE public.t' });
    const columns = await columnsOf(connection, 'public.t');
    expect(await digest(connection, [{ qualified: 'public.t' }], columns, 'full')).toEqual({
      rows: '0',
      hash: null,
    });
  });
});
