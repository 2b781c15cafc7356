import { execFile } from 'node:child_process';
import { connect as dial } from 'node:net';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConsole } from '../../src/postgres/pgbouncer-console.ts';
import { endStaleSessions } from '../../src/postgres/replica-stats.ts';
import { ensurePasswords } from '../../src/postgres/roles.ts';
import {
  type ClientChanges,
  login,
  monitoring,
  type PoolerScene,
  startPoolerScene,
} from '../support/pooler-scene.ts';
import { findRootfs } from '../support/postgres-server.ts';
import { startSilence } from '../support/silence.ts';
import { waitFor, waitUntil } from '../support/wait.ts';

const run = promisify(execFile);
let scene: PoolerScene;

beforeAll(async () => {
  scene = await startPoolerScene();
});

afterAll(() => scene?.end());

describe('logins', () => {
  it('pass SCRAM through: the password that the server has, and no other', async () => {
    const good = await scene.client();
    expect((await good.query('SELECT current_user AS name')).rows).toEqual([{ name: 'app' }]);
    await good.end();
    await expect(scene.client({ password: 'wrong' })).rejects.toThrow(/authentication failed/);
  });

  it('are for people and applications only, with TLS only', async () => {
    for (const user of ['herdsman', 'herdsman_pooler', 'stats', 'pgbouncer', 'postgres', 'nobody']) {
      await expect(scene.client({ user }), user).rejects.toThrow(
        /rejected|authentication failed|no such user/,
      );
    }
    await expect(scene.client({ ssl: false })).rejects.toThrow(/TLS|SSL/i);
  });

  it('follow a password that changes, at once', async () => {
    await ensurePasswords(scene.operator, [{ ...login, password: 'another secret' }]);
    const good = await scene.client({ password: 'another secret' });
    await good.query('SELECT 1');
    await good.end();
    await expect(scene.client()).rejects.toThrow(/authentication failed/);
    await ensurePasswords(scene.operator, [login]);
    await (await scene.client()).end();
  });

  it('leave no password and no verifier in the log', () => {
    expect(scene.poolers.log()).not.toMatch(/SCRAM-SHA-256\$|secret/);
  });

  it('to the console are for the operator; statistics may only look', async () => {
    const stats = await openConsole(scene.poolers.console(0, 'stats'));
    expect((await stats.showDatabases()).map(({ name }) => name)).toContain('app');
    await expect(stats.pause('app')).rejects.toThrow(/admin access needed/);
    await stats.close();
    await expect(scene.client({ database: 'pgbouncer' })).rejects.toThrow(/rejected|config error/);
  });

  it('to the console end soon also when the instance has gone without a word', async () => {
    const options = scene.poolers.console(0);
    const silence = await startSilence(options);
    const console = await openConsole({ ...options, host: silence.host, port: silence.port });
    silence.begin();
    await console.close();
    await silence.stop();
    // It is the way that is silent, not the instance.
    await scene.withConsole(0, async (other) => expect(await other.showDatabases()).not.toEqual([]));
  });
});

describe('pools', () => {
  it('let 500 clients share the connections that the server has for them', async () => {
    const clients = await Promise.all(
      Array.from({ length: 500 }, (_, index) => scene.client({ instance: index % 2 })),
    );
    const servers = new Set<number>();
    await Promise.all(
      clients.map(async (each, index) => {
        for (let n = 0; n < 4; n += 1) {
          const { rows } = await each.query<{ pid: number; n: string }>({
            // A named statement is prepared once on each server connection, in transaction mode too.
            name: `statement ${index % 5}`,
            text: `SELECT pg_backend_pid() AS pid, $1::text || '${index % 5}' AS n FROM pg_sleep(0.002)`,
            values: [String(n)],
          });
          expect(rows[0]?.n).toBe(`${n}${index % 5}`);
          servers.add(rows[0]?.pid ?? 0);
        }
      }),
    );
    const [busy] = await scene.operator.query<{ all: number; app: number }>({
      text: `SELECT count(*)::int AS all, count(*) FILTER (WHERE usename = 'app')::int AS app
        FROM pg_stat_activity WHERE usename IN ('app', 'herdsman_pooler')`,
    });
    // 60 - 3 - 10 = 47 for 2 instances: 23 each, of which 2 are kept for verifiers and monitoring.
    expect(servers.size).toBeGreaterThan(20);
    expect(busy?.app).toBeLessThanOrEqual(42);
    expect(busy?.all).toBeLessThanOrEqual(46);
    await Promise.all(clients.map((each) => each.end()));
  });

  it('take what pgbench prepares', async () => {
    const rootfs = await findRootfs();
    const environment = {
      PGPASSWORD: login.password,
      PGSSLMODE: 'require',
      PATH: '/usr/lib/postgresql/17/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    };
    const where = ['-h', '127.0.0.1', '-p', String(scene.poolers.ports[0]), '-U', 'app', 'app'];
    const bench = (...words: string[]) =>
      rootfs === '/'
        ? run('pgbench', [...words, ...where], { env: environment })
        : run('chroot', [rootfs, 'pgbench', ...words, ...where], { env: environment });
    await bench('-i', '-q');
    // pgbench prepares one statement after the other and waits for each: with transactions it needs a connection for each client.
    for (const words of [
      ['-S', '-c', '50'],
      ['-c', '10'],
    ]) {
      const { stdout } = await bench('-M', 'prepared', '-n', '-t', '20', ...words);
      expect(stdout).toMatch(/transactions actually processed: (1000\/1000|200\/200)/);
      expect(stdout).toMatch(/number of failed transactions: 0 /);
    }
    const each = await bench('-C', '-S', '-n', '-c', '20', '-t', '5');
    expect(each.stdout).toMatch(/transactions actually processed: 100\/100/);
  });

  it('find the session of a cancel that reaches another instance', async () => {
    const asking = await scene.client({ instance: 0 });
    const answer = asking.query('SELECT pg_sleep(60)').then(
      () => 'done',
      (error: Error) => error.message,
    );
    await waitUntil('the query runs', async () => {
      const rows = await scene.operator.query({
        text: "SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'",
      });
      return rows.length === 1;
    });
    const { processID, secretKey } = asking as unknown as { processID: number; secretKey: number };
    const request = Buffer.alloc(16);
    [16, 80877102, processID, secretKey].forEach((word, index) => {
      request.writeInt32BE(word, index * 4);
    });
    // A pooler passes a cancel on for as long as who sent it waits, as all drivers do.
    dial(scene.poolers.ports[1] ?? 0, '127.0.0.1').write(request);
    expect(await answer).toMatch(/canceling statement due to user request/);
    await asking.end();
  });
});

it('connections of poolers outlive those of others on a member that is late, until poolers have had time to leave it', async () => {
  const { host, port, ca } = scene.server;
  const direct = new pg.Client({ ...scene.config(), host, port, database: 'one', ssl: { ca } });
  direct.on('error', () => undefined);
  await direct.connect();
  const pooled = await scene.client();
  const pids = async () =>
    Promise.all(
      [direct, pooled].map(
        async (each) => (await each.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid,
      ),
    );
  const [own, shared] = await pids();
  const left = async () =>
    (
      await scene.operator.query<{ pid: number }>({
        text: 'SELECT pid FROM pg_stat_activity WHERE pid = ANY ($1)',
        values: [[own, shared]],
      })
    ).map(({ pid }) => pid);
  const endWhenOut = (outMs: number) =>
    waitFor('sessions are ended', async () => {
      await endStaleSessions(scene.operator, { outMs, graceMs: 60_000 });
      const pids = await left();
      return pids.length < 2 && !pids.includes(own ?? 0) ? { done: pids } : { state: pids };
    });
  expect(await endWhenOut(1_000)).toEqual([shared]);
  await endStaleSessions(scene.operator, { outMs: 3_000, graceMs: 60_000 });
  await waitUntil('poolers are ended, too', async () => (await left()).length === 0);
  await pooled.end();
});

it('a user with session mode keeps what it SETs, and others share it in transaction mode', async () => {
  const spec = { users: [{ name: login.name, poolMode: 'session' }] };
  const set = (each: pg.Client, value: string) => each.query(`SET statement_timeout = '${value}'`);
  const show = async (each: pg.Client) =>
    (await each.query('SHOW statement_timeout')).rows[0].statement_timeout;
  const two = (more: ClientChanges) => Promise.all([scene.client(more), scene.client(more)]);
  await scene.withInstance(spec, async () => {
    const [own, other] = await two({});
    await set(own, '1234ms');
    for (let turn = 0; turn < 5; turn += 1)
      expect([await show(own), await show(other)]).toEqual(['1234ms', '0']);
    await Promise.all([own.end(), other.end()]);
    // Who leaves leaves nothing behind.
    const next = await scene.client();
    expect(await show(next)).toBe('0');
    await next.end();
    // Monitoring has one connection, which is another's with the next transaction.
    const [one, another] = await two({ user: monitoring.name, password: monitoring.password });
    await set(one, '4321ms');
    expect(await show(another)).toBe('4321ms');
    await Promise.all([one.end(), another.end()]);
  });
});

describe('an instance that goes', () => {
  it('lets clients leave, and those that stay end their transaction', async () => {
    const leaving = await scene.client({ instance: 1 });
    const staying = await scene.client({ instance: 1 });
    const ended = scene.poolers.ended(1);
    const farewell = scene.poolers.farewell(1, 2);
    await staying.query('BEGIN');
    await leaving.query('SELECT 1');
    await leaving.end();
    await waitUntil('it waits for transactions only', () => /shutting down/.test(scene.poolers.log()));
    await staying.query('SELECT 2');
    await staying.query('COMMIT');
    await ended;
    await (await scene.client({ instance: 0 })).end();
    await farewell;
  });

  it('goes at once when it has no clients', async () => {
    const ended = scene.poolers.ended(0);
    const farewell = scene.poolers.farewell(0, 3600);
    await ended;
    await farewell;
  });
});
