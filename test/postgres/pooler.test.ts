import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { managedPoolerParameters } from '../../src/api/v1alpha1/pooler-parameters.ts';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import { type Console, openConsole } from '../../src/postgres/pgbouncer-console.ts';
import { endStaleSessions } from '../../src/postgres/replica-stats.ts';
import { applyRoles, ensurePasswords, planRoles, readRoles } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { revisionOf } from '../../src/resources/pooler-config/desired/settings.ts';
import { createPoolerGate } from '../../src/resources/pooler-config/gate.ts';
import { type GatedShards, noGatedShards } from '../../src/resources/pooler-config/gated-shards.ts';
import { untilNoLogin } from '../../src/resources/pooler-config/hold.ts';
import { oversizedDatabases, readInstance } from '../../src/resources/pooler-config/instance-facts.ts';
import type { PoolerConfig } from '../../src/resources/pooler-config/model.ts';
import { parameterProblem, pgbouncerParameterNames } from '../../src/resources/pooler-config/parameters.ts';
import type { PoolerSources } from '../../src/resources/pooler-config/sources.ts';
import { poolerConfig, poolerSpec } from '../../src/resources/pooler-config/test-support/world.ts';
import type { Pod } from '../../src/resources/sharded-cluster/kubernetes.ts';
import type { PoolerGate } from '../../src/resources/sharded-cluster/pooler-gate.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { type PoolerServers, startPoolers } from '../support/pooler-server.ts';
import { findRootfs, type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { waitFor, waitUntil } from '../support/wait.ts';

const run = promisify(execFile);
const login = { name: 'app', password: 'application secret' };
const monitoring = 'monitoring';

let server: PostgresServer;
let second: PostgresServer;
let poolers: PoolerServers;
let operator: Connection;

function asOperator(database: string, at = server): Promise<Connection> {
  return at.certificate('herdsman').then(({ ca, cert, key }) =>
    connect({
      host: at.host,
      port: at.port,
      database,
      user: 'herdsman',
      tls: { ca, servername: 'localhost', clientCertificate: { cert, key } },
    }),
  );
}

/** A shard's database as the operator makes one; the verifiers differ from server to server. */
async function makeShard(database: string, at: PostgresServer): Promise<void> {
  const maintenance = await asOperator('postgres', at);
  const spec = {
    operator: 'herdsman',
    database,
    application: { name: login.name, verifier: scramVerifier(login.password) },
    monitoring: { name: monitoring, verifier: scramVerifier('watch') },
  };
  await applyRoles(maintenance, planRoles(spec, await readRoles(maintenance)));
  await maintenance.close();
  const inside = await asOperator(database, at);
  await ensureSchema(inside, { application: login.name, monitoring });
  await ensurePasswords(inside, [login, { name: monitoring, password: 'watch' }]);
  await inside.close();
}

function config(changes: Partial<pg.ClientConfig> & { instance?: number } = {}): pg.ClientConfig {
  const { instance = 0, ...rest } = changes;
  return {
    host: '127.0.0.1',
    port: poolers.ports[instance] ?? 0,
    user: login.name,
    password: login.password,
    database: 'app',
    ssl: { ca: poolers.ca, servername: poolers.servername },
    ...rest,
  };
}

async function client(changes: Parameters<typeof config>[0] = {}): Promise<pg.Client> {
  const made = new pg.Client(config(changes));
  made.on('error', () => undefined);
  await made.connect();
  return made;
}

async function withConsole<T>(instance: number, work: (console: Console) => Promise<T>): Promise<T> {
  const console = await openConsole(poolers.console(instance));
  try {
    return await work(console);
  } finally {
    await console.close();
  }
}

beforeAll(async () => {
  [server, second] = await Promise.all([startPostgres({ ssl: true }), startPostgres({ ssl: true })]);
  await makeShard('one', server);
  const shards = { s0: { server, database: 'one' } };
  poolers = await startPoolers({ monitoring, shards, maxConnections: 60 });
  operator = await asOperator('one');
});

afterAll(async () => {
  await operator?.close();
  await poolers?.stop();
  await Promise.all([server?.stop(), second?.stop()]);
});

describe('logins', () => {
  it('pass SCRAM through: the password that the server has, and no other', async () => {
    const good = await client();
    expect((await good.query('SELECT current_user AS name')).rows).toEqual([{ name: 'app' }]);
    await good.end();
    await expect(client({ password: 'wrong' })).rejects.toThrow(/authentication failed/);
  });

  it('are for people and applications only, with TLS only', async () => {
    for (const user of ['herdsman', 'herdsman_pooler', 'stats', 'pgbouncer', 'postgres', 'nobody']) {
      await expect(client({ user }), user).rejects.toThrow(/rejected|authentication failed|no such user/);
    }
    await expect(client({ ssl: false })).rejects.toThrow(/TLS|SSL/i);
  });

  it('follow a password that changes, at once', async () => {
    await ensurePasswords(operator, [{ ...login, password: 'another secret' }]);
    const good = await client({ password: 'another secret' });
    await good.query('SELECT 1');
    await good.end();
    await expect(client()).rejects.toThrow(/authentication failed/);
    await ensurePasswords(operator, [login]);
    await (await client()).end();
  });

  it('leave no password and no verifier in the log', () => {
    expect(poolers.log()).not.toMatch(/SCRAM-SHA-256\$|secret/);
  });

  it('to the console are for the operator; statistics may only look', async () => {
    const stats = await openConsole(poolers.console(0, 'stats'));
    expect((await stats.showDatabases()).map(({ name }) => name)).toContain('app');
    await expect(stats.pause('app')).rejects.toThrow(/admin access needed/);
    await stats.close();
    await expect(client({ database: 'pgbouncer' })).rejects.toThrow(/rejected|config error/);
  });
});

describe('pools', () => {
  it('let 500 clients share the connections that the server has for them', async () => {
    const clients = await Promise.all(
      Array.from({ length: 500 }, (_, index) => client({ instance: index % 2 })),
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
    const [busy] = await operator.query<{ all: number; app: number }>({
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
    const where = ['-h', '127.0.0.1', '-p', String(poolers.ports[0]), '-U', 'app', 'app'];
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
    const asking = await client({ instance: 0 });
    const answer = asking.query('SELECT pg_sleep(60)').then(
      () => 'done',
      (error: Error) => error.message,
    );
    await waitUntil('the query runs', async () => {
      const rows = await operator.query({
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
    dial(poolers.ports[1] ?? 0, '127.0.0.1').write(request);
    expect(await answer).toMatch(/canceling statement due to user request/);
    await asking.end();
  });
});

describe('new settings', () => {
  it('may be all that this PgBouncer has, but for those that follow from the spec', async () => {
    const there = [...(await withConsole(0, (console) => console.showConfig())).keys()];
    const free = there.filter((name) => pgbouncerParameterNames.has(name));
    expect(there.filter((name) => !free.includes(name) && !(name in managedPoolerParameters))).toEqual([]);
    expect(Object.keys(managedPoolerParameters).filter((name) => !there.includes(name))).toEqual([]);
  });

  it('take effect without a new process, but for those that replace pods', async () => {
    const { host, port, user, password } = poolers.console(0);
    const console = new pg.Client(config({ host, port, user, password, database: 'pgbouncer' }));
    await console.connect();
    const { rows } = await console.query<{ key: string; changeable: string }>('SHOW CONFIG');
    await console.end();
    for (const { key, changeable } of rows)
      expect([key, pgbouncerParameterNames.get(key)?.restart ?? false]).toEqual([
        key,
        pgbouncerParameterNames.has(key) && changeable === 'no',
      ]);
  });

  it('have values that this PgBouncer takes, each of its kind', async () => {
    const parameters = {
      application_name_add_host: '1',
      client_tls_ciphers: 'HIGH:!aNULL',
      client_tls_dheparams: 'auto',
      client_tls_ecdhcurve: 'secp521r1',
      client_tls_protocols: 'TLSv1.2,tlsv1.3',
      max_packet_size: '999999999',
      reserve_pool_timeout: '0.5',
      server_check_query: '',
      server_tls_protocols: 'all,!tlsv1.0',
      tcp_keepcnt: '3',
    };
    expect(parameterProblem(poolerSpec({ parameters }))).toBeUndefined();
    const revision = await poolers.write({ parameters });
    await withConsole(0, async (console) => {
      await console.reload();
      const settings = await console.showConfig();
      expect(revisionOf(settings.get('ignore_startup_parameters') ?? '')).toBe(revision);
      for (const [name, value] of Object.entries(parameters)) expect(settings.get(name), name).toBe(value);
    });
    await (await client()).end();
  });

  it('do not pass as taken when a line among them is none that PgBouncer takes', async () => {
    const parameters = { server_check_delay: 'abc' };
    expect(parameterProblem(poolerSpec({ parameters }))).toBeDefined();
    const half = await poolers.write({ parameters });
    const revisionNow = () =>
      withConsole(0, async (console) => {
        // It answers success, whatever it could read.
        await console.reload();
        return revisionOf((await console.showConfig()).get('ignore_startup_parameters') ?? '');
      });
    expect(await revisionNow()).not.toBe(half);
    expect(poolers.log()).toMatch(/invalid value "abc" for parameter server_check_delay/);
    const whole = await poolers.write({});
    expect(await revisionNow()).toBe(whole);
  });

  it('take effect by RELOAD, with no client dropped: another database, another limit', async () => {
    await makeShard('two', second);
    const staying = await client();
    const revision = await poolers.write(
      { maxClientConnections: 700 },
      {
        s0: { server, database: 'one' },
        s1: { server: second, database: 'two' },
      },
    );
    for (const instance of [0, 1]) {
      await withConsole(instance, async (console) => {
        await console.reload();
        const settings = await console.showConfig();
        expect(revisionOf(settings.get('ignore_startup_parameters') ?? '')).toBe(revision);
        expect(settings.get('max_client_conn')).toBe('700');
        expect(settings.get('peer_id')).toBe(String(instance + 1));
      });
    }
    expect((await staying.query('SELECT current_database() AS name')).rows).toEqual([{ name: 'one' }]);
    await staying.end();
    for (const [database, name] of [
      ['app', 'one'],
      ['app_s0', 'one'],
      ['app_s1', 'two'],
    ]) {
      const each = await client({ database });
      expect((await each.query('SELECT current_database() AS name')).rows).toEqual([{ name }]);
      await each.end();
    }
  });
});

/** The gate, with the instances as pods that are ready, some of which are about to go. */
function gateOf(
  gated: GatedShards,
  spec: Record<string, unknown> = {},
  pods = [0, 1],
  going: readonly number[] = [],
): PoolerGate {
  const pooler: PoolerConfig = poolerConfig(spec, {
    databases: [{ name: 'app', shard: 's0', poolSize: 1, maxConnections: 3 }],
  });
  const ready = { type: 'Ready', status: 'True' };
  const found: Pod[] = pods.map((ordinal) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `web-pooler-${ordinal}`,
      uid: `uid-${ordinal}`,
      ...(going.includes(ordinal) ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    status: { podIP: String(ordinal), conditions: [ready] },
  }));
  const poolerSources = {
    poolers: { cache: { byIndex: () => [pooler] } },
    pods: { cache: { byIndex: () => found } },
  } as unknown as PoolerSources;
  return createPoolerGate({
    poolerSources,
    access: async () => ({ options: (address) => poolers.console(Number(address)) }),
    gated,
    clock: systemClock,
    log: silentLogger,
  });
}

const shard = {
  namespace: 'store',
  cluster: 'shop',
  shard: 's0',
  database: 'app',
  role: 'rw' as const,
  servedBy: async () => 'the primary',
};
const never = new AbortController().signal;

describe('the gate', () => {
  let gated: GatedShards;

  beforeEach(() => {
    gated = noGatedShards();
  });

  const paused = () =>
    Promise.all(
      [0, 1].map((instance) =>
        withConsole(instance, async (console) =>
          (await console.showDatabases()).some((database) => Number(database.paused) === 1),
        ),
      ),
    );

  it('lets nobody be at work meanwhile, and nobody sees an error', async () => {
    let ending = false;
    let done = 0;
    const errors: string[] = [];
    const working = Array.from({ length: 40 }, async (_, index) => {
      const each = await client({ instance: index % 2 });
      while (!ending) {
        try {
          await each.query('BEGIN');
          await each.query('SELECT pg_sleep(0.003)');
          await each.query('COMMIT');
          done += 1;
        } catch (error) {
          errors.push(String(error));
          break;
        }
      }
      await each.end();
    });
    await waitUntil('clients are at work', () => done > 100);
    let serving = false;
    await gateOf(gated).whilePaused(
      { ...shard, servedBy: async () => (serving ? 'the primary' : undefined) },
      async () => {
        const busy = await operator.query({
          text: "SELECT FROM pg_stat_activity WHERE usename = 'app' AND xact_start IS NOT NULL",
        });
        expect(busy).toEqual([]);
        expect(gated.held).toEqual(new Set(['uid-0/app', 'uid-1/app']));
        setTimeout(() => {
          serving = true;
        }, 100);
      },
      never,
    );
    expect(serving).toBe(true);
    const before = done;
    await waitUntil('clients go on', () => done > before + 100);
    ending = true;
    await Promise.all(working);
    expect(errors).toEqual([]);
    expect(gated.held.size).toBe(0);
    expect(gated.switched).toEqual(new Set(['store/web/s0']));
    expect(await paused()).toEqual([false, false]);
  });

  it('lets clients go on when another server serves, though nobody has reported the end of the work yet', async () => {
    const waiting = await client();
    const finish = Promise.withResolvers<void>();
    let server = 'the old primary';
    const passing = gateOf(gated).whilePaused(
      { ...shard, servedBy: async () => server },
      () => finish.promise,
      never,
    );
    await waitUntil('it is held', () => gated.held.size === 2);
    const answer = waiting.query('SELECT 1');
    server = 'the new primary';
    await answer;
    expect(gated.switched).toEqual(new Set(['store/web/s0']));
    finish.resolve();
    await passing;
    await waiting.end();
  });

  it('is another one for those that write than for those that read', async () => {
    const seen: boolean[][] = [];
    const look = async () => void seen.push(await paused());
    await gateOf(gated, { target: { cluster: 'shop', role: 'ro' } }).whilePaused(shard, look, never);
    await gateOf(gated).whilePaused({ ...shard, role: 'ro' }, look, never);
    expect(seen).toEqual([
      [false, false],
      [false, false],
    ]);
    const readers = gateOf(gated, { target: { cluster: 'shop', role: 'ro' } });
    await readers.whilePaused({ ...shard, role: 'ro' }, look, never);
    expect(seen[2]).toEqual([true, true]);
    expect(gated.switched.size).toBe(0);
  });

  it('holds back the clients of an instance that is about to go, too', async () => {
    const look = async () => expect(await paused()).toEqual([true, true]);
    await gateOf(gated, {}, [0, 1], [1]).whilePaused(shard, look, never);
    expect(await paused()).toEqual([false, false]);
  });

  it('lets clients go on when maxPause is over, though the work is not done', async () => {
    const waiting = await client();
    const finish = Promise.withResolvers<void>();
    const passing = gateOf(gated, { maxPause: '1s' }).whilePaused(shard, () => finish.promise, never);
    await waitUntil('it is held', () => gated.held.size === 2);
    await waiting.query('SELECT 1');
    finish.resolve();
    await passing;
    await waiting.end();
    expect(await paused()).toEqual([false, false]);
  });

  it('lets clients go on when the work fails, and says why', async () => {
    const passing = gateOf(gated).whilePaused(
      shard,
      async () => {
        throw new Error('no candidate');
      },
      never,
    );
    await expect(passing).rejects.toThrow('no candidate');
    expect(await paused()).toEqual([false, false]);
    expect(gated.switched.size).toBe(0);
  });

  it('does not wait for a transaction that takes longer than its share', async () => {
    const slow = await client();
    await slow.query('BEGIN; SELECT 1');
    let done = false;
    await gateOf(gated, { maxPause: '2s' }).whilePaused(
      shard,
      async () => {
        done = true;
      },
      never,
    );
    expect(done).toBe(true);
    await slow.query('COMMIT');
    await slow.end();
  });

  it('does without poolers that do not answer, and does nothing with maxPause 0s', async () => {
    await gateOf(gated, {}, [7]).whilePaused(shard, async () => undefined, never);
    await gateOf(gated, { maxPause: '0s' }).whilePaused(
      shard,
      async () => expect(await paused()).toEqual([false, false]),
      never,
    );
  });
});

/** A way to a server that can be cut, as it is when a primary is lost, and opened again, to another one if so wished. */
async function wayTo(port: number) {
  const sockets = new Set<Socket>();
  let to = port;
  const listener = createServer((incoming) => {
    const outgoing = dial(to, '127.0.0.1');
    for (const [from, into] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(from);
      from.on('error', () => into.destroy()).on('close', () => into.destroy());
      from.pipe(into);
    }
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address() as AddressInfo;
  return {
    port: address.port,
    async cut() {
      const closed = once(listener, 'close');
      listener.close();
      for (const socket of sockets) socket.destroy();
      sockets.clear();
      await closed;
    },
    async open(another = port) {
      to = another;
      listener.listen(address.port, '127.0.0.1');
      await once(listener, 'listening');
    },
  };
}

/** What a server answers to all that log in while it starts up. */
async function startStartingUp() {
  const fields = ['SFATAL', 'VFATAL', 'C57P03', 'Mthe database system is starting up'].map(
    (text) => `${text}\0`,
  );
  const body = Buffer.from(`${fields.join('')}\0`);
  const head = Buffer.from('E\0\0\0\0');
  head.writeInt32BE(body.length + 4, 1);
  let refused = 0;
  const listener = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .on('data', (data) => {
        // Without TLS; whoever insists on it goes away by itself.
        if (data.length === 8) return socket.write('N');
        refused += 1;
        return socket.end(Buffer.concat([head, body]));
      });
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    port: (listener.address() as AddressInfo).port,
    refused: () => refused,
    stop: () => new Promise((resolve) => listener.close(resolve)),
  };
}

async function waitingClients(): Promise<number> {
  const pools = await withConsole(0, (console) => console.showPools());
  return pools.reduce((sum, pool) => sum + pool.cl_waiting, 0);
}

describe('a server that is lost for a while', () => {
  const poolSize = 5;
  let way: Awaited<ReturnType<typeof wayTo>>;
  let all: PoolerServers;
  let its: PoolerServers;

  beforeAll(async () => {
    way = await wayTo(server.port);
    const shards = { s0: { server: { ...server, port: way.port }, database: 'one' } };
    const spec = { sizing: 'manual', poolSize, maxPause: '1m' };
    its = await startPoolers({ monitoring, shards, instances: 1, spec });
    all = poolers;
    poolers = its;
  });
  afterAll(async () => {
    poolers = all;
    await its?.stop();
    await way?.cut();
  });

  it('is a wait for those that are idle, ask or come, and an error only for those at work', async () => {
    const idle = await Promise.all(Array.from({ length: 20 }, () => client()));
    let ending = false;
    let done = 0;
    const errors: string[] = [];
    const working = Array.from({ length: 20 }, async () => {
      let each: pg.Client | undefined;
      while (!ending) {
        try {
          each ??= await client();
          await each.query('SELECT pg_sleep(0.01)');
          done += 1;
        } catch (error) {
          errors.push(String(error));
          each?.end().catch(() => undefined);
          each = undefined;
        }
      }
      await each?.end();
    });
    await waitUntil('clients are at work', () => done > 400);
    await way.cut();
    const answers = idle.map((each) => each.query('SELECT 1'));
    await waitUntil(
      'all of them wait',
      async () => (await waitingClients()) === working.length + idle.length,
    );
    await way.open();
    await Promise.all(answers);
    const before = done;
    await waitUntil('all go on', () => done > before + 200);
    ending = true;
    await Promise.all(working);
    await Promise.all(idle.map((each) => each.end()));
    expect(errors.filter((message) => /login has been failing/.test(message))).toEqual([]);
    expect(errors.length).toBeLessThanOrEqual(poolSize);
  });

  it('is a wait as long as it is there again and starts up, also when others than before shall be connected to', async () => {
    const starting = await startStartingUp();
    const asking = await client();
    await way.cut();
    await way.open(starting.port);
    const answer = asking.query('SELECT 1');
    await waitUntil('it has been asked', () => starting.refused() > 2);
    const coming = client();
    await waitUntil('both wait', async () => (await waitingClients()) === 2);
    // The operator does so when it sees another primary, which may be before PgBouncer has logged in there.
    await withConsole(0, (console) => console.reconnect('app'));
    await way.cut();
    await way.open();
    await answer;
    await Promise.all([asking.end(), coming.then((each) => each.end())]);
    await starting.stop();
  });

  it('is a wait also when a login was under way, which the loss cuts off', async () => {
    const idle = await Promise.all(Array.from({ length: 20 }, () => client()));
    const superuser = new pg.Client(await server.connection('postgres'));
    await superuser.connect();
    await superuser.query("ALTER SYSTEM SET post_auth_delay = '60s'");
    await superuser.query('SELECT pg_reload_conf()');
    await withConsole(0, (console) => console.reconnect('app'));
    const [first, ...others] = idle;
    const answers = [first?.query('SELECT 1')];
    await waitUntil('a login is under way', async () => {
      const pools = await withConsole(0, (console) => console.showPools());
      return pools.some((pool) => pool.user === login.name && pool.sv_login === 1 && pool.sv_idle === 0);
    });
    await superuser.query('ALTER SYSTEM RESET post_auth_delay');
    await superuser.query('SELECT pg_reload_conf()');
    await way.cut();
    await waitUntil('clients are paused', async () => {
      const databases = await withConsole(0, (console) => console.showDatabases());
      return databases.some(({ name, paused }) => name === 'app' && Number(paused) === 1);
    });
    answers.push(...others.map((each) => each.query('SELECT 1')));
    await waitUntil('all of them wait', async () => (await waitingClients()) === idle.length);
    await way.open();
    await Promise.all(answers);
    await Promise.all([...idle, superuser].map((each) => each.end()));
  });

  it('is an error for those that ask when maxPause is over, and for those that have waited so long', async () => {
    const queryWait = () =>
      withConsole(0, async (console) => (await console.showConfig()).get('query_wait_timeout'));
    const waiting = await client();
    const revision = await poolers.write({ sizing: 'manual', poolSize, maxPause: '1s' });
    await withConsole(0, (console) => console.reload());
    expect(revision).not.toBe(poolers.revision);
    await way.cut();
    const lowered = waitUntil('all wait no longer than that', async () => (await queryWait()) === '1');
    await expect(waiting.query('SELECT 1')).rejects.toThrow(/query_wait_timeout/);
    await waitFor('others are turned away', async () => {
      const error = await client({ connectionTimeoutMillis: 500 }).then(
        () => 'got in',
        (reason: Error) => reason.message,
      );
      return /server login has been failing/.test(error) ? { done: error } : { state: error };
    });
    await lowered;
    await waitUntil(
      'those of other databases wait as long as before',
      async () => (await queryWait()) === '120',
    );
    await way.open();
    await waitUntil('somebody is served again', () =>
      client().then(
        (each) => each.end().then(() => true),
        () => false,
      ),
    );
  });

  it('is a wait behind the gate, for those that are there and those that come', async () => {
    const asking = await waitFor('somebody is served again', async () => {
      const made = await client();
      await made.query('SELECT 1');
      return { done: made };
    });
    const gate = gateOf(noGatedShards(), {}, [0]);
    const answers: Promise<unknown>[] = [];
    await gate.whilePaused(
      shard,
      async () => {
        await way.cut();
        answers.push(asking.query('SELECT 1'));
        const coming = client();
        answers.push(coming.then((each) => each.query('SELECT 1').finally(() => each.end())));
        await waitUntil('both wait', async () => (await waitingClients()) >= 2);
        await way.open();
      },
      never,
    );
    await Promise.all(answers);
    await asking.end();
  });
});

it('connections of poolers outlive those of others on a member that is late, until poolers have had time to leave it', async () => {
  const { host, port } = server;
  const direct = new pg.Client({ ...config(), host, port, database: 'one', ssl: { ca: server.ca } });
  direct.on('error', () => undefined);
  await direct.connect();
  const pooled = await client();
  const pids = async () =>
    Promise.all(
      [direct, pooled].map(
        async (each) => (await each.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid,
      ),
    );
  const [own, shared] = await pids();
  const left = async () =>
    (
      await operator.query<{ pid: number }>({
        text: 'SELECT pid FROM pg_stat_activity WHERE pid = ANY ($1)',
        values: [[own, shared]],
      })
    ).map(({ pid }) => pid);
  const endWhenOut = (outMs: number) =>
    waitFor('sessions are ended', async () => {
      await endStaleSessions(operator, { outMs, graceMs: 60_000 });
      const pids = await left();
      return pids.length < 2 && !pids.includes(own ?? 0) ? { done: pids } : { state: pids };
    });
  expect(await endWhenOut(1_000)).toEqual([shared]);
  await endStaleSessions(operator, { outMs: 3_000, graceMs: 60_000 });
  await waitUntil('poolers are ended, too', async () => (await left()).length === 0);
  await pooled.end();
});

it('a user with session mode keeps what it SETs, and others share it in transaction mode', async () => {
  const all = poolers;
  const spec = { users: [{ name: login.name, poolMode: 'session' }] };
  poolers = await startPoolers({
    monitoring,
    shards: { s0: { server, database: 'one' } },
    instances: 1,
    spec,
  });
  const set = (each: pg.Client, value: string) => each.query(`SET statement_timeout = '${value}'`);
  const show = async (each: pg.Client) =>
    (await each.query('SHOW statement_timeout')).rows[0].statement_timeout;
  const two = (more: Parameters<typeof client>[0]) => Promise.all([client(more), client(more)]);
  try {
    const [own, other] = await two({});
    await set(own, '1234ms');
    for (let turn = 0; turn < 5; turn += 1)
      expect([await show(own), await show(other)]).toEqual(['1234ms', '0']);
    await Promise.all([own.end(), other.end()]);
    // Who leaves leaves nothing behind.
    const next = await client();
    expect(await show(next)).toBe('0');
    await next.end();
    // Monitoring has one connection, which is another's with the next transaction.
    const [one, another] = await two({ user: monitoring, password: 'watch' });
    await set(one, '4321ms');
    expect(await show(another)).toBe('4321ms');
    await Promise.all([one.end(), another.end()]);
  } finally {
    await poolers.stop();
    poolers = all;
  }
});

it('a busy pool shrinks to a smaller size when it is told to, with no client dropped', async () => {
  const all = poolers;
  const sized = (poolSize: number) => ({ sizing: 'manual', poolSize });
  poolers = await startPoolers({
    monitoring,
    shards: { s0: { server, database: 'one' } },
    instances: 1,
    spec: sized(20),
  });
  const facts = () => withConsole(0, readInstance);
  const errors: string[] = [];
  let ending = false;
  try {
    const working = Array.from({ length: 60 }, async () => {
      const each = await client();
      while (!ending) await each.query('SELECT pg_sleep(0.01)').catch((error) => errors.push(String(error)));
      await each.end();
    });
    await waitUntil('the pool is full', async () => ((await facts()).databaseServers?.app ?? 0) >= 20);
    const revision = await poolers.write(sized(8));
    await withConsole(0, (console) => console.reload());
    const sizes = [{ name: 'app', shard: 's0', poolSize: 8, maxConnections: 10 }];
    const seen = await facts();
    expect(seen.revision).toBe(revision);
    expect(oversizedDatabases(seen, sizes)).toEqual(['app']);
    await waitUntil('nothing is over the size', async () => {
      const over = oversizedDatabases(await facts(), sizes);
      for (const database of over)
        await withConsole(0, async (console) => {
          await untilNoLogin(console, database, systemClock);
          await console.reconnect(database);
        });
      return over.length === 0;
    });
    const [open] = await operator.query<{ count: number }>({
      text: "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'app'",
    });
    expect(open?.count).toBeLessThanOrEqual(10);
    ending = true;
    await Promise.all(working);
    expect(errors).toEqual([]);
  } finally {
    ending = true;
    await poolers.stop();
    poolers = all;
  }
});

it('no connections are kept open while clients are held back, since each that is closed counts as a failed login', async () => {
  const all = poolers;
  const spec = { minPoolSize: 5 };
  poolers = await startPoolers({
    monitoring,
    shards: { s0: { server, database: 'one' } },
    instances: 1,
    spec,
  });
  const least = () => withConsole(0, async (console) => (await console.showConfig()).get('min_pool_size'));
  try {
    const asking = await client();
    await asking.query('SELECT 1');
    await gateOf(noGatedShards(), spec, [0]).whilePaused(
      shard,
      async () => {
        await waitUntil('none are kept', async () => (await least()) === '0');
      },
      never,
    );
    expect(await least()).toBe('5');
    await asking.query('SELECT 1');
    await asking.end();
  } finally {
    await poolers.stop();
    poolers = all;
  }
});

it('an instance that answers nobody keeps nobody waiting for it', async () => {
  // Whoever connects is taken by the machine, and hears nothing.
  const silent = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const there = poolers;
  poolers = { ...there, console: () => ({ ...there.console(0), port }) };
  try {
    let isDone = false;
    await gateOf(noGatedShards(), {}, [0]).whilePaused(
      shard,
      async () => {
        isDone = true;
      },
      never,
    );
    expect(isDone).toBe(true);
  } finally {
    poolers = there;
    silent.close();
  }
});

describe('the guard in the pod', () => {
  it('lets clients go on when nobody else does', async () => {
    await poolers.write({ maxPause: '2s' });
    const stop = poolers.guard(0);
    const waiting = await client();
    await withConsole(0, (console) => console.pause('app'));
    await waiting.query('SELECT 1');
    await waiting.end();
    await stop();
  });
});

describe('an instance that goes', () => {
  it('lets clients leave, and those that stay end their transaction', async () => {
    const leaving = await client({ instance: 1 });
    const staying = await client({ instance: 1 });
    const ended = poolers.ended(1);
    const farewell = poolers.farewell(1, 2);
    await staying.query('BEGIN');
    await leaving.query('SELECT 1');
    await leaving.end();
    await waitUntil('it waits for transactions only', () => /shutting down/.test(poolers.log()));
    await staying.query('SELECT 2');
    await staying.query('COMMIT');
    await ended;
    await (await client({ instance: 0 })).end();
    await farewell;
  });

  it('goes at once when it has no clients', async () => {
    const ended = poolers.ended(0);
    const farewell = poolers.farewell(0, 3600);
    await ended;
    await farewell;
  });
});
