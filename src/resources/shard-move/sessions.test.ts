import { expect, it } from 'vitest';
import type { Connection, ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { keepSessions } from './sessions.ts';

const options = (host: string): ConnectOptions => ({
  host,
  port: 5432,
  user: 'herdsman',
  database: 'app',
  tls: 'off',
});

/** Lends sessions, and counts those that are lent. */
function lending() {
  const lent: { host: string; closed: boolean }[] = [];
  let back = 0;
  const use: Connections['use'] = async ({ host }, work) => {
    if (host === 'away') throw new Error('nobody answers');
    const connection = { host, closed: false };
    lent.push(connection);
    try {
      return await work(connection as unknown as Connection);
    } finally {
      back += 1;
    }
  };
  return { use, lent, back: () => back };
}

const hostOf = async (connection: Connection) => (connection as unknown as { host: string }).host;

it('borrows one session for each server, until it is given back', async () => {
  const pool = lending();
  const sessions = keepSessions(pool);
  for (const host of ['a', 'b', 'a', 'b', 'a']) expect(await sessions.use(options(host), hostOf)).toBe(host);
  expect(pool.lent.map(({ host }) => host)).toEqual(['a', 'b']);
  expect(pool.back()).toBe(0);
  sessions.release();
  await expect.poll(pool.back).toBe(2);
  await sessions.use(options('a'), hostOf);
  expect(pool.lent).toHaveLength(3);
});

it('borrows another one when the session has ended', async () => {
  const pool = lending();
  const sessions = keepSessions(pool);
  await sessions.use(options('a'), hostOf);
  for (const connection of pool.lent) connection.closed = true;
  await sessions.use(options('a'), hostOf);
  expect(pool.lent).toHaveLength(2);
  await expect.poll(pool.back).toBe(1);
});

it('tells when there is none, and tries again', async () => {
  const sessions = keepSessions(lending());
  for (let tries = 0; tries < 2; tries += 1)
    await expect(sessions.use(options('away'), hostOf)).rejects.toThrow('nobody answers');
  sessions.release();
});

it('keeps a session whose work has failed', async () => {
  const pool = lending();
  const sessions = keepSessions(pool);
  await expect(sessions.use(options('a'), () => Promise.reject(new Error('refused')))).rejects.toThrow(
    'refused',
  );
  await sessions.use(options('a'), hostOf);
  expect(pool.lent).toHaveLength(1);
});
