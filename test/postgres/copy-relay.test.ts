import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, type ConnectOptions, connect } from '../../src/postgres/connection.ts';
import { relayCopy } from '../../src/postgres/copy-relay.ts';
import { PostgresError, UnreachableError } from '../../src/postgres/postgres-error.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';

let server: PostgresServer;
let options: ConnectOptions;
let source: Connection;
let target: Connection;

const out = 'COPY (SELECT n, v FROM public.origin) TO STDOUT (FORMAT binary)';
const into = 'COPY public.copied FROM STDIN (FORMAT binary)';

beforeAll(async () => {
  server = await startPostgres({ ssl: true });
  const { host, port, user, password, ca } = server;
  options = { host, port, database: 'postgres', user, password, tls: { ca, servername: 'localhost' } };
  const connection = await connect(options);
  // Rows of a few bytes, empty ones, and some that are longer than anything that is read at once.
  await connection.query({
    text: `CREATE TABLE public.origin (n int, v text); CREATE TABLE public.copied (n int CHECK (n <> -1), v text);
      INSERT INTO public.origin SELECT n, CASE WHEN n % 7 = 0 THEN NULL WHEN n % 1000 = 1 THEN repeat(md5(n::text), 100000) ELSE left(md5(n::text), n % 33) END
        FROM generate_series(1, 5000) n`,
  });
  await connection.close();
}, 60_000);
afterAll(() => server?.stop());

/** Two new sessions, and an empty table. */
async function begin(): Promise<void> {
  [source, target] = await Promise.all([connect(options), connect(options)]);
  await target.query({ text: 'TRUNCATE public.copied' });
}

const print = async (connection: Connection, table: string) => {
  const [row] = await connection.query({
    text: `SELECT count(*)::int AS rows, sum(pg_catalog.hashtextextended(t::text, 0))::text AS hash FROM public.${table} t`,
  });
  return row;
};

async function areEnded(): Promise<void> {
  await expect.poll(() => source.closed && target.closed).toBe(true);
  const connection = await connect(options);
  expect(await print(connection, 'copied')).toEqual({ rows: 0, hash: null });
  await expect
    .poll(() => connection.query({ text: "SELECT FROM pg_stat_activity WHERE query LIKE 'COPY %'" }), {
      timeout: 10_000,
    })
    .toEqual([]);
  await connection.close();
}

describe('a relayed copy', () => {
  it.each(['binary', 'text'])(
    'brings rows of all lengths in %s form, and can be repeated',
    async (format) => {
      await begin();
      const [from, to] = [out.replace('binary', format), into.replace('binary', format)];
      let passed = 0;
      const pass = (bytes: number) => {
        passed += bytes;
        return passed % 3 === 0 ? Promise.resolve() : undefined;
      };
      expect(await relayCopy(source, target, { from, to }, { pass })).toBe(5000);
      expect(passed).toBeGreaterThan(12_000_000);
      expect(await print(target, 'copied')).toEqual(await print(source, 'origin'));
      const none = from.replace('origin', 'origin WHERE false');
      expect(await relayCopy(source, target, { from: none, to })).toBe(0);
      expect(await print(target, 'copied')).toEqual(await print(source, 'origin'));
      await Promise.all([source.close(), target.close()]);
    },
  );

  it('fails with the words of the source, in the middle of the rows', async () => {
    await begin();
    const from = out.replace('v FROM', 'CASE WHEN n = 4900 THEN (1 / (n - 4900))::text ELSE v END FROM');
    const copy = relayCopy(source, target, { from, to: into });
    await expect(copy).rejects.toMatchObject({ sqlstate: '22012' });
    await expect(copy).rejects.toBeInstanceOf(PostgresError);
    await areEnded();
  });

  it.each([
    ['before the rows', into.replace('copied', 'nowhere'), '42P01'],
    ['at a row', into, '23514'],
  ])('fails with the words of the target, %s', async (_, to, sqlstate) => {
    await begin();
    const from = out.replace('SELECT n', 'SELECT CASE WHEN n = 900 THEN -1 ELSE n END');
    await expect(relayCopy(source, target, { from, to })).rejects.toMatchObject({ sqlstate });
    await areEnded();
  });

  it('ends with either session', async () => {
    for (const side of ['source', 'target'] as const) {
      await begin();
      const killer = await connect(options);
      const [row] = await (side === 'source' ? source : target).query<{ pid: number }>({
        text: 'SELECT pg_backend_pid() AS pid',
      });
      let isKilled = false;
      const pass = async () => {
        if (isKilled) return;
        isKilled = true;
        await killer.query({ text: `SELECT pg_terminate_backend(${row?.pid})` });
      };
      const copy = relayCopy(source, target, { from: out, to: into }, { pass });
      await expect(copy).rejects.toBeInstanceOf(UnreachableError);
      await killer.close();
      await areEnded();
    }
  });

  it('ends when it is not wanted any more', async () => {
    await begin();
    const unwanted = new AbortController();
    const pass = async () => unwanted.abort(new Error('not wanted'));
    const options = { pass, signal: unwanted.signal };
    await expect(relayCopy(source, target, { from: out, to: into }, options)).rejects.toThrow('not wanted');
    await areEnded();
    await expect(relayCopy(source, target, { from: out, to: into }, options)).rejects.toThrow('not wanted');
  });

  it('ends when what is done beside fails', async () => {
    await begin();
    const pass = () => Promise.reject(new Error('no more'));
    await expect(relayCopy(source, target, { from: out, to: into }, { pass })).rejects.toThrow('no more');
    await areEnded();
  });

  it('ends when the target takes no more, without a word', async () => {
    await begin();
    await target.query({
      text: `CREATE FUNCTION public.sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.pg_sleep(3); RETURN NEW; END';
        CREATE TABLE public.asleep (n int, v text);
        CREATE TRIGGER sleep BEFORE INSERT ON public.asleep FOR EACH ROW WHEN (NEW.n = 1) EXECUTE FUNCTION public.sleep()`,
    });
    const statements = { from: out, to: into.replace('copied', 'asleep') };
    const copy = relayCopy(source, target, statements, { stallMs: 300 });
    await expect(copy).rejects.toBeInstanceOf(UnreachableError);
    await areEnded();
  });

  it('leaves no clock running that would end the session later', async () => {
    source = await connect({ ...options, statementTimeoutMs: 1000 });
    target = await connect({ ...options, statementTimeoutMs: 1000 });
    await target.query({ text: 'TRUNCATE public.copied' });
    expect(await relayCopy(source, target, { from: out, to: into })).toBe(5000);
    expect(source.client.listenerCount('error') + target.client.listenerCount('error')).toBe(2);
    await Promise.all([source.close(), target.close()]);
  });
});
