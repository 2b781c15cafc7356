import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ImportSpec } from '../../src/api/v1alpha1/import.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { Import, isOver } from '../support/import.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { makeWorld, rows } from './world.ts';

/** An import of a database without TLS. */
function specOf({ host, port }: PostgresServer, database: string): ImportSpec {
  return {
    host,
    port,
    database,
    credentials: 'old',
    tls: { mode: 'disable' },
    cutover: 'auto',
    verify: 'full',
  };
}

const login = { username: 'importer', password: "it's secret" };

describe('an import over TLS of a partitioned table', () => {
  let secure: PostgresServer;
  beforeAll(async () => {
    secure = await startPostgres({ ssl: true });
  });
  afterAll(() => secure?.stop());

  it('holds the stream to the server whose certificate was verified, and stops who writes to a partition', async () => {
    const admin = new Client(await secure.connection('postgres'));
    await admin.connect();
    await admin.query('CREATE DATABASE old');
    await admin.query(`CREATE ROLE importer LOGIN REPLICATION PASSWORD '${scramVerifier(login.password)}'`);
    await admin.query('GRANT CREATE ON DATABASE old TO importer');
    await admin.end();
    const source = new Client(await secure.connection('old'));
    await source.connect();
    await source.query(`CREATE TABLE events (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
      CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100);
      CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (100) TO (200);
      INSERT INTO events SELECT n, n FROM generate_series(0, 199) n; ALTER TABLE events OWNER TO importer;
      ALTER TABLE events_1 OWNER TO importer; ALTER TABLE events_2 OWNER TO importer`);
    const world = await makeWorld('imp_tls', 1);
    await world.shard(0).application.query({
      text: 'CREATE TABLE public.events (id int, at int, PRIMARY KEY (id, at))',
    });
    const wanted: ImportSpec = {
      host: secure.host,
      port: secure.port,
      database: 'old',
      credentials: 'old',
      tls: { mode: 'verify-full', caSecret: 'ca' },
      cutover: 'auto',
      verify: 'full',
    };
    const trusting = new Import('herdsman_import_tls', world.shard(0), wanted, { ...login, ca: secure.ca });
    expect(await trusting.run(isOver)).toContain('switch');
    await expect(source.query('INSERT INTO events_1 VALUES (1, 99)')).rejects.toMatchObject({
      code: 'HD004',
    });
    const count = 'SELECT count(*)::int AS n FROM public.events';
    expect(await rows(world.shard(0).application, count)).toEqual([{ n: 200 }]);
    await source.end();
    await world.close();
  });
});

describe('an import from a server that follows another one itself', () => {
  it('takes no more rows of that one either', async () => {
    const old = await startPostgres({ parameters: { wal_level: 'logical' } });
    const admin = new Client(await old.connection('postgres'));
    await admin.connect();
    const databases = ['upstream', 'old'] as const;
    for (const database of databases) await admin.query(`CREATE DATABASE ${database}`);
    const [upstream, source] = await Promise.all(
      databases.map(async (database) => {
        const client = new Client(await old.connection(database));
        await client.connect();
        await client.query('CREATE TABLE events (id int PRIMARY KEY)');
        return client;
      }),
    );
    if (upstream === undefined || source === undefined) throw new Error('two databases');
    await upstream.query(`INSERT INTO events VALUES (1); CREATE PUBLICATION everything FOR ALL TABLES`);
    await upstream.query("SELECT pg_create_logical_replication_slot('follower', 'pgoutput')");
    const conninfo = `host=${old.host} port=${old.port} dbname=upstream user=postgres password=${old.password}`;
    await source.query(`CREATE SUBSCRIPTION follower CONNECTION '${conninfo}' PUBLICATION everything
      WITH (create_slot = false, slot_name = 'follower')`);
    const world = await makeWorld('imp_chain', 1);
    await world.shard(0).application.query({ text: 'CREATE TABLE public.events (id int PRIMARY KEY)' });
    const countOf = async () => (await source.query('SELECT count(*)::int AS n FROM events')).rows[0]?.n;
    await expect.poll(countOf).toBe(1);
    const wanted = specOf(old, 'old');
    const following = new Import('herdsman_import_chain', world.shard(0), wanted, {
      username: 'postgres',
      password: old.password,
    });
    expect(await following.run(isOver)).toContain('switch');
    await upstream.query('INSERT INTO events VALUES (2)');
    const refused = async () =>
      (await source.query('SELECT apply_error_count::int AS n FROM pg_stat_subscription_stats')).rows[0]?.n;
    await expect.poll(refused, { timeout: 30_000 }).toBeGreaterThan(0);
    expect(await countOf()).toBe(1);
    await source.query('ALTER SUBSCRIPTION follower DISABLE');
    await Promise.all([upstream.end(), source.end(), admin.end()]);
    await world.close();
    await old.stop();
  });
});

describe('what a server says of itself', () => {
  it('is refused with what to do', async () => {
    const plain = await startPostgres({ parameters: { wal_level: 'replica', max_replication_slots: '1' } });
    const world = await makeWorld('imp_no', 1);
    const wanted = specOf(plain, 'postgres');
    const trying = (change: Partial<ImportSpec>, password = plain.password) =>
      new Import(
        'herdsman_import_no',
        world.shard(0),
        { ...wanted, ...change },
        { username: 'postgres', password },
      );
    expect((await trying({}).look()).plan).toMatchObject({ reason: 'WalLevel' });
    expect((await trying({}, 'wrong').look()).plan).toMatchObject({
      message: expect.stringMatching(/password/),
    });
    expect((await trying({ database: 'nowhere' }).look()).plan).toMatchObject({
      message: expect.stringMatching(/does not exist/),
    });
    expect((await trying({ port: 1 }).look()).plan).toMatchObject({
      message: expect.stringMatching(/cannot connect/),
    });
    expect((await trying({ tls: { mode: 'require' } }).look()).plan).toMatchObject({
      message: expect.stringMatching(/does not support SSL/),
    });
    await world.close();
    await plain.stop();
  });
});
