import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { managedPoolerParameters } from '../../src/api/v1alpha1/pooler-parameters.ts';
import { revisionOf } from '../../src/resources/pooler-config/desired/settings.ts';
import {
  oversizedDatabases,
  readInstance,
  sessionName,
} from '../../src/resources/pooler-config/instance-facts.ts';
import { parameterProblem, pgbouncerParameterNames } from '../../src/resources/pooler-config/parameters.ts';
import { poolerSpec } from '../../src/resources/pooler-config/test-support/world.ts';
import { makeShard, type PoolerScene, startPoolerScene } from '../support/pooler-scene.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { waitUntil } from '../support/wait.ts';

let scene: PoolerScene;

beforeAll(async () => {
  scene = await startPoolerScene();
});

afterAll(() => scene?.end());

describe('new settings', () => {
  it('may be all that this PgBouncer has, but for those that follow from the spec', async () => {
    const there = [...(await scene.withConsole(0, (console) => console.showConfig())).keys()];
    const free = there.filter((name) => pgbouncerParameterNames.has(name));
    expect(there.filter((name) => !free.includes(name) && !(name in managedPoolerParameters))).toEqual([]);
    expect(Object.keys(managedPoolerParameters).filter((name) => !there.includes(name))).toEqual([]);
  });

  it('take effect without a new process, but for those that replace pods', async () => {
    const { host, port, user, password } = scene.poolers.console(0);
    const console = new pg.Client(scene.config({ host, port, user, password, database: 'pgbouncer' }));
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
    const revision = await scene.poolers.write({ parameters });
    await scene.withConsole(0, async (console) => {
      await console.reload();
      const settings = await console.showConfig();
      expect(revisionOf(settings.get('ignore_startup_parameters') ?? '')).toBe(revision);
      for (const [name, value] of Object.entries(parameters)) expect(settings.get(name), name).toBe(value);
    });
    await (await scene.client()).end();
  });

  it('do not pass as taken when a line among them is none that PgBouncer takes', async () => {
    const parameters = { server_check_delay: 'abc' };
    expect(parameterProblem(poolerSpec({ parameters }))).toBeDefined();
    const half = await scene.poolers.write({ parameters });
    const revisionNow = () =>
      scene.withConsole(0, async (console) => {
        // It answers success, whatever it could read.
        await console.reload();
        return revisionOf((await console.showConfig()).get('ignore_startup_parameters') ?? '');
      });
    expect(await revisionNow()).not.toBe(half);
    expect(scene.poolers.log()).toMatch(/invalid value "abc" for parameter server_check_delay/);
    const whole = await scene.poolers.write({});
    expect(await revisionNow()).toBe(whole);
  });

  it('take effect by RELOAD, with no client dropped: another database, another limit', async () => {
    const second = await startPostgres({ ssl: true });
    onTestFinished(second.stop);
    await makeShard('two', second);
    const staying = await scene.client();
    const revision = await scene.poolers.write(
      { maxClientConnections: 700 },
      {
        s0: { server: scene.server, database: 'one' },
        s1: { server: second, database: 'two' },
      },
    );
    for (const instance of [0, 1]) {
      await scene.withConsole(instance, async (console) => {
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
      const each = await scene.client({ database });
      expect((await each.query('SELECT current_database() AS name')).rows).toEqual([{ name }]);
      await each.end();
    }
  });
});

it('an instance names its sessions as the server does', async () => {
  const client = await scene.client();
  const { rows } = await client.query<{ pid: number; port: number }>(
    'SELECT pg_backend_pid() AS pid, inet_client_port() AS port',
  );
  const { sessions = [] } = await scene.withConsole(0, (console) => readInstance(console, true));
  await client.end();
  const [own] = rows;
  expect(sessions).toContainEqual({ database: 'app', session: sessionName(own?.pid ?? 0, own?.port ?? 0) });
  const there = await scene.operator.query<{ pid: number; port: number }>({
    text: 'SELECT pid, client_port AS port FROM pg_stat_activity WHERE client_addr IS NOT NULL',
  });
  const names = there.map(({ pid, port }) => sessionName(pid, port));
  expect(sessions.filter(({ session }) => !names.includes(session))).toEqual([]);
});

it('a busy pool shrinks to a smaller size when it is told to, with no client dropped', async () => {
  const sized = (poolSize: number) => ({ sizing: 'manual', poolSize });
  const facts = () => scene.withConsole(0, readInstance);
  const connections = async () => {
    const [open] = await scene.operator.query<{ count: number }>({
      text: "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'app'",
    });
    return open?.count ?? 0;
  };
  const errors: string[] = [];
  let ending = false;
  onTestFinished(() => {
    ending = true;
  });
  const others = await connections();
  await scene.withInstance(sized(20), async () => {
    const working = Array.from({ length: 60 }, async () => {
      const each = await scene.client();
      while (!ending) await each.query('SELECT pg_sleep(0.01)').catch((error) => errors.push(String(error)));
      await each.end();
    });
    await waitUntil('the pool is full', async () => ((await facts()).databaseServers?.app ?? 0) >= 20);
    const revision = await scene.poolers.write(sized(8));
    await scene.withConsole(0, (console) => console.reload());
    const sizes = [{ name: 'app', shard: 's0', poolSize: 8, maxConnections: 10 }];
    const seen = await facts();
    expect(seen.revision).toBe(revision);
    expect(oversizedDatabases(seen, sizes)).toEqual(['app']);
    expect(seen.waits.map(({ database }) => database)).toEqual(['app']);
    await waitUntil('nothing is over the size', async () => {
      const over = oversizedDatabases(await facts(), sizes);
      for (const database of over) await scene.reconnect(database);
      return over.length === 0;
    });
    expect(await connections()).toBeLessThanOrEqual(others + 10);
    ending = true;
    await Promise.all(working);
    expect(errors).toEqual([]);
  });
});
