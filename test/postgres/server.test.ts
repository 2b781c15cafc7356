import { Client, type ClientConfig } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { sharedPostgres } from '../support/shared-postgres.ts';

async function withClient<T>(config: ClientConfig, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(config);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

describe('the shared server', () => {
  it('is PostgreSQL 17', async () => {
    await withClient({ ...sharedPostgres(), database: 'postgres' }, async (client) => {
      const { rows } = await client.query(
        "SELECT current_setting('server_version_num')::int / 10000 AS major",
      );
      expect(rows).toEqual([{ major: 17 }]);
    });
  });

  it('refuses a wrong password', async () => {
    const config = { ...sharedPostgres(), database: 'postgres', password: 'wrong' };
    await expect(withClient(config, async () => undefined)).rejects.toMatchObject({ code: '28P01' });
  });
});

describe('servers of a test', () => {
  let source: PostgresServer;
  let target: PostgresServer;

  beforeAll(async () => {
    [source, target] = await Promise.all([startPostgres(), startPostgres({ ssl: true })]);
  });
  afterAll(async () => {
    await Promise.all([source?.stop(), target?.stop()]);
  });

  it('keep a prepared transaction when the session that prepared it ends', async () => {
    const database = await source.createDatabase('prepared');
    await withClient(database, async (client) => {
      await client.query('CREATE TABLE t (id int)');
      await client.query('BEGIN; INSERT INTO t VALUES (1)');
      await client.query("PREPARE TRANSACTION 'one'");
    });
    await withClient(database, async (client) => {
      expect((await client.query('SELECT gid FROM pg_prepared_xacts')).rows).toEqual([{ gid: 'one' }]);
      expect((await client.query('SELECT * FROM t')).rows).toEqual([]);
      await client.query("COMMIT PREPARED 'one'");
      expect((await client.query('SELECT * FROM t')).rows).toEqual([{ id: 1 }]);
    });
  });

  it('replicate a table from one to the other', async () => {
    const [from, to] = await Promise.all([source.createDatabase('a'), target.createDatabase('b')]);
    await withClient(from, (client) =>
      client.query(
        'CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t; INSERT INTO t VALUES (7)',
      ),
    );
    await withClient(to, async (client) => {
      await client.query('CREATE TABLE t (id int PRIMARY KEY)');
      const { host, port, user, password } = source;
      const conninfo = `host=${host} port=${port} user=${user} password=${password} dbname=a`;
      await client.query(`CREATE SUBSCRIPTION s CONNECTION '${conninfo}' PUBLICATION p`);
      await expect
        .poll(async () => (await client.query('SELECT * FROM t')).rows, { timeout: 20_000 })
        .toEqual([{ id: 7 }]);
      await client.query('DROP SUBSCRIPTION s');
    });
  });

  it('with TLS refuse a connection without', async () => {
    const { host, port, user, password } = target;
    const plain = { host, port, user, password, database: 'postgres' };
    await expect(withClient(plain, async () => undefined)).rejects.toMatchObject({ code: '28000' });
  });

  it('with TLS know the operator by its certificate', async () => {
    await withClient(await target.connection('postgres', 'herdsman'), async (client) => {
      const { rows } = await client.query(
        'SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
      );
      expect(rows).toEqual([{ ssl: true, client_dn: '/CN=herdsman' }]);
    });
  });

  it('have the roles of a bootstrapped shard', async () => {
    await withClient(await source.connection('postgres', 'herdsman'), async (client) => {
      const { rows } = await client.query(
        `SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
           FROM pg_roles WHERE rolname = current_user`,
      );
      expect(rows).toEqual([
        {
          rolname: 'herdsman',
          rolsuper: false,
          rolcreatedb: true,
          rolcreaterole: true,
          rolreplication: true,
          rolbypassrls: true,
        },
      ]);
      await client.query(
        'CREATE ROLE monitoring LOGIN; GRANT pg_monitor TO monitoring; DROP ROLE monitoring',
      );
    });
  });
});
