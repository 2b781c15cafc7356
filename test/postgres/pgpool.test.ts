import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import { type PgpoolFacts, readPgpool } from '../../src/postgres/pgpool.ts';
import { applyRoles, ensurePasswords, planRoles, readRoles } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { pgpoolRevisionOf } from '../../src/resources/pooler-config/desired/pgpool-settings.ts';
import { pgpoolParameterNames } from '../../src/resources/pooler-config/pgpool/parameters.ts';
import { member } from '../../src/resources/pooler-config/test-support/pgpool-world.ts';
import { type PgpoolServer, type PgpoolWish, startPgpool } from '../support/pgpool-server.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { type Redirect, startRedirect } from '../support/redirect.ts';
import { waitFor } from '../support/wait.ts';

const app = { name: 'app', password: 'application secret' };
const monitoring = { name: 'monitoring', password: 'watch' };
const logins = [app, monitoring].map(({ name, password }) => ({ username: name, password }));
/** A port that nobody listens on: a member that is not there. */
const nobody = { port: 1025 };

let primary: PostgresServer;
/** What leads to the primary, as its Service does. */
let service: Redirect;
let standbys: PostgresServer[];
let pgpool: PgpoolServer;
let operator: Connection;

async function asOperator(database: string): Promise<Connection> {
  const { ca, cert, key } = await primary.certificate('herdsman');
  return connect({
    host: primary.host,
    port: primary.port,
    database,
    user: 'herdsman',
    tls: { ca, servername: 'localhost', clientCertificate: { cert, key } },
  });
}

async function asSuperuser<T>(server: PostgresServer, text: string): Promise<T[]> {
  const client = new pg.Client(await server.connection('one'));
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

async function client(changes: Partial<pg.ClientConfig> = {}, instance = pgpool): Promise<pg.Client> {
  const made = new pg.Client({
    host: '127.0.0.1',
    port: instance.port,
    user: app.name,
    password: app.password,
    database: 'one',
    ssl: { ca: instance.ca, servername: instance.servername },
    connectionTimeoutMillis: 5_000,
    ...changes,
  });
  made.on('error', () => undefined);
  await made.connect();
  return made;
}

async function once<Row>(text: string, changes: Partial<pg.ClientConfig> = {}): Promise<Row> {
  const made = await client(changes);
  try {
    return (await made.query(text)).rows[0];
  } finally {
    await made.end();
  }
}

async function facts(instance = pgpool): Promise<PgpoolFacts> {
  const connection = await connect({
    host: '127.0.0.1',
    port: instance.port,
    user: monitoring.name,
    password: monitoring.password,
    database: 'one',
    tls: { ca: instance.ca, servername: instance.servername },
  });
  return readPgpool(connection).finally(() => connection.close());
}

function eventually(
  what: string,
  holds: (facts: PgpoolFacts) => boolean | Promise<boolean>,
  instance = pgpool,
) {
  return waitFor(
    what,
    async () => {
      const state = await facts(instance).catch((error: Error) => error);
      return !(state instanceof Error) && (await holds(state)) ? { done: state } : { state };
    },
    { everyMs: 50 },
  );
}

/** Revision of the settings that were written last. */
let written: string;

/** Writes settings, and waits until they are there. */
async function settle(wish: PgpoolWish): Promise<PgpoolFacts> {
  written = await pgpool.write(wish);
  return eventually('the new settings', ({ ident }) => pgpoolRevisionOf(ident) === written);
}

/** A session with a process that has the settings: each process of an instance reads them for itself, some later than others. */
function settledClient(): Promise<pg.Client> {
  return waitFor('a process with the new settings', async () => {
    const made = await client();
    const { rows } = await made.query<{ syslog_ident: string }>('PGPOOL SHOW syslog_ident');
    const revision = pgpoolRevisionOf(rows[0]?.syslog_ident ?? '');
    if (revision === written) return { done: made };
    await made.end();
    return { state: revision };
  });
}

/** Waits until both standbys have replayed what was just written: late ones are not read. */
function caughtUp(): Promise<PgpoolFacts> {
  return eventually('both have caught up', async ({ nodes }) => {
    await once('INSERT INTO items VALUES (12)');
    return nodes.slice(1, 3).every(({ up, lagSeconds = 0 }) => up && lagSeconds <= 1);
  });
}

/** A session that reads the server, which was drawn for it. */
async function readerOf({ port }: PostgresServer) {
  for (;;) {
    const reader = await settledClient();
    const portOf = async (): Promise<number> =>
      (await reader.query('SELECT inet_server_port() AS port FROM items LIMIT 1')).rows[0].port;
    if ((await portOf()) === port) return { reader, portOf };
    await reader.end();
  }
}

/** Where a session of its own reads, so many times. */
async function reads(times: number): Promise<Map<number, number>> {
  const counts = new Map<number, number>();
  for (let n = 0; n < times; n += 1) {
    const reader = await settledClient();
    const { rows } = await reader.query('SELECT inet_server_port() AS port FROM items LIMIT 1');
    counts.set(rows[0].port, (counts.get(rows[0].port) ?? 0) + 1);
    await reader.end();
  }
  return counts;
}

beforeAll(async () => {
  primary = await startPostgres({ ssl: true, parameters: { wal_keep_size: '64MB' } });
  const maintenance = await asOperator('postgres');
  const spec = {
    operator: 'herdsman',
    database: 'one',
    application: { name: app.name, verifier: scramVerifier(app.password) },
    monitoring: { name: monitoring.name, verifier: scramVerifier(monitoring.password) },
  };
  await applyRoles(maintenance, planRoles(spec, await readRoles(maintenance)));
  await maintenance.close();
  operator = await asOperator('one');
  await ensureSchema(operator, { application: app.name, monitoring: monitoring.name });
  await ensurePasswords(operator, [app, monitoring]);
  service = await startRedirect(primary.port);
  standbys = await Promise.all(
    [0, 1].map((ordinal) =>
      startPostgres({ ssl: true, standby: { name: member(ordinal).name, of: service } }),
    ),
  );
  pgpool = await startPgpool(
    {
      primary: { ...primary, port: service.port },
      members: [...standbys, nobody],
      database: 'one',
      logins,
      monitoring: monitoring.name,
    },
    { members: [member(0), member(1)], pgpool: { maxLag: '1s' } },
  );
  await eventually(
    'all who are there are used',
    ({ nodes }) => nodes.map(({ up }) => up).join() === 'true,true,true,false',
  );
  await once('CREATE TABLE items AS SELECT generate_series(1, 10) AS id');
  await once('CREATE TABLE others AS SELECT 1 AS id');
});

afterAll(async () => {
  await operator?.close();
  await pgpool?.stop();
  await Promise.all([primary, service, ...(standbys ?? [])].map((server) => server?.stop()));
});

describe('logins', () => {
  it('are by SCRAM, with the password that the server has, and TLS on both sides', async () => {
    const made = await client();
    const { rows } = await made.query(
      'SELECT current_user AS name, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
    );
    expect(rows).toEqual([{ name: 'app', ssl: true }]);
    await made.end();
    await expect(client({ password: 'wrong' })).rejects.toThrow(/authentication failed/);
    await expect(client({ ssl: false })).rejects.toThrow(/authentication failed|pool_hba/);
  });

  it('are for nobody else', async () => {
    for (const user of ['postgres', 'herdsman', 'herdsman_pooler', 'nobody'])
      await expect(client({ user }), user).rejects.toThrow(/authentication failed/);
  });

  it('follow a password that changes, without a new process', async () => {
    const wish = { members: [member(0), member(1)], pgpool: { maxLag: '1s' } };
    const next = 'another secret';
    const refusal = (password: string) =>
      waitFor('no process takes the other password', () =>
        client({ password }).then(
          async (made) => ({ state: await made.end() }),
          (error: Error) => ({ done: error.message }),
        ),
      );
    await ensurePasswords(operator, [{ ...app, password: next }]);
    try {
      await settle({ ...wish, logins: [{ username: 'app', password: next }, ...logins.slice(1)] });
      await waitFor('it is taken', async () => ({ done: await once('SELECT 1', { password: next }) }));
      expect(await refusal(app.password)).toMatch(/authentication failed/);
    } finally {
      await ensurePasswords(operator, [app]);
      await settle(wish);
    }
    await waitFor('the former is taken again', async () => ({ done: await once('SELECT 1') }));
  });

  it('leave no password in the log or in a file', async () => {
    expect(pgpool.log()).not.toMatch(/secret|SCRAM-SHA-256\$|watch/);
    const files = await pgpool.files();
    // They are there, encrypted.
    expect(files.some((text) => /^app:AES/m.test(text))).toBe(true);
    for (const text of files)
      expect(text).not.toMatch(/application secret|another secret|SCRAM-SHA-256\$|\bwatch\b/);
  });
});

describe('reads and writes', () => {
  it('go apart: writes to the primary, reads by weight', async () => {
    await settle({ members: [member(0), member(1)], pgpool: { maxLag: '1s', primaryWeight: 0 } });
    await caughtUp();
    const counts = await reads(12);
    expect([...counts.keys()].toSorted()).toEqual(standbys.map(({ port }) => port).toSorted());
    const { port } = await once<{ port: number }>(
      'INSERT INTO items VALUES (11) RETURNING inet_server_port() AS port',
    );
    expect(port).toBe(primary.port);
    expect((await facts()).nodes.map(({ share }) => share)).toEqual([0, 0.5, 0.5, 0]);
  });

  it('are more where the weight is more', async () => {
    await settle({
      members: [member(0)],
      pgpool: { maxLag: '1s', primaryWeight: 1, readReplicaSets: [{ name: 'readers', weight: 3 }] },
    });
    await caughtUp();
    expect((await facts()).nodes.slice(0, 2).map(({ share }) => share)).toEqual([0.25, 0.75]);
    // Each session draws: that half of 80 draw the one of a quarter is one case in a million.
    const counts = await reads(80);
    const [first] = standbys;
    expect(counts.get(primary.port) ?? 0).toBeGreaterThan(0);
    expect(counts.get(first?.port ?? 0)).toBeGreaterThan(counts.get(primary.port) ?? 0);
  });

  it('follow a weight that changes, for new sessions', async () => {
    await settle({
      members: [member(0, { rotation: 'out' }), member(1)],
      pgpool: { maxLag: '1s', primaryWeight: 0 },
    });
    expect([...(await reads(6)).keys()]).toEqual([standbys[1]?.port]);
    await settle({ members: [], pgpool: { maxLag: '1s', primaryWeight: 0 } });
    expect([...(await reads(4)).keys()]).toEqual([primary.port]);
  });

  it('show a transaction what it has written', async () => {
    await settle({ members: [member(0), member(1)], pgpool: { maxLag: '1s', primaryWeight: 0 } });
    const made = await client();
    for (let n = 0; n < 5; n += 1) {
      await made.query('BEGIN');
      await made.query('INSERT INTO items VALUES ($1)', [100 + n]);
      const { rows } = await made.query('SELECT count(*)::int AS n FROM items WHERE id = $1', [100 + n]);
      expect(rows).toEqual([{ n: 1 }]);
      await made.query('COMMIT');
    }
    await made.end();
  });

  it.each([
    ['transaction', { same: 'primary', other: 'primary', next: 'standby', later: 'standby' }],
    ['transTransaction', { same: 'primary', other: 'primary', next: 'primary', later: 'standby' }],
    ['dmlAdaptive', { same: 'primary', other: 'standby', next: 'standby', later: 'standby' }],
    ['always', { same: 'primary', other: 'primary', next: 'primary', later: 'primary' }],
  ] as const)('go to the primary after a write for as long as "%s" says', async (mode, expected) => {
    await settle({
      members: [member(0), member(1)],
      pgpool: { maxLag: '5s', primaryWeight: 0, disableLoadBalanceOnWrite: mode },
    });
    await caughtUp();
    const made = await settledClient();
    const servedBy = async (table: string) => {
      const { rows } = await made.query(`SELECT inet_server_port() AS port FROM ${table} LIMIT 1`);
      return rows[0].port === primary.port ? 'primary' : 'standby';
    };
    expect(await servedBy('items')).toBe('standby');
    await made.query('BEGIN');
    await made.query('INSERT INTO items VALUES (200)');
    const same = await servedBy('items');
    const other = await servedBy('others');
    await made.query('COMMIT');
    await made.query('BEGIN');
    const next = await servedBy('items');
    await made.query('COMMIT');
    const later = await servedBy('items');
    await made.end();
    expect({ same, other, next, later }).toEqual(expected);
  });

  it('can be chosen anew for each statement', async () => {
    await settle({ members: [member(0), member(1)], pgpool: { primaryWeight: 0, balance: 'statement' } });
    await waitFor('a session reads both', async () => {
      const made = await client();
      const ports = new Set<number>();
      for (let n = 0; n < 20; n += 1)
        ports.add((await made.query('SELECT inet_server_port() AS port FROM items LIMIT 1')).rows[0].port);
      await made.end();
      return ports.size === 2 ? { done: ports } : { state: [...ports] };
    });
  });
});

describe('a member', () => {
  const wish = { members: [member(0), member(1)], pgpool: { maxLag: '1s', primaryWeight: 0 } };

  it('that lags is not read, not even by a session that read it, until it has caught up', async () => {
    await settle(wish);
    const [late] = standbys;
    if (late === undefined) throw new Error('no standby');
    const { reader, portOf } = await readerOf(late);
    await asSuperuser(late, 'SELECT pg_wal_replay_pause()');
    await eventually('the lag is seen', async ({ nodes }) => {
      await once('INSERT INTO items VALUES (1000)');
      return (nodes[1]?.lagSeconds ?? 0) > 1;
    });
    expect(await portOf()).not.toBe(late.port);
    expect([...(await reads(6)).keys()]).not.toContain(late.port);
    await asSuperuser(late, 'SELECT pg_wal_replay_resume()');
    // The session stays with the member that it went to; new ones come back.
    await waitFor('it is read again', async () => {
      await once('INSERT INTO items VALUES (1001)');
      const counts = await reads(4);
      return counts.has(late.port) ? { done: counts } : { state: [...counts] };
    });
    await reader.end();
  });

  it('that ends is detached, and the lag of the others is still seen', async () => {
    await settle(wish);
    const [first, gone] = standbys;
    if (first === undefined || gone === undefined) throw new Error('no standbys');
    await gone.stop();
    await eventually('it is detached', ({ nodes }) => nodes[2]?.up === false);
    await asSuperuser(first, 'SELECT pg_wal_replay_pause()');
    await eventually('the lag of the other is seen', async ({ nodes }) => {
      await once('INSERT INTO items VALUES (2000)');
      return (nodes[1]?.lagSeconds ?? 0) > 1;
    });
    expect([...(await reads(4)).keys()]).toEqual([primary.port]);
    await asSuperuser(first, 'SELECT pg_wal_replay_resume()');
  });
});

it('knows every setting that the operator says it knows', async () => {
  const made = await client({ user: monitoring.name, password: monitoring.password });
  const known = (await made.query<{ item: string }>('PGPOOL SHOW ALL')).rows.map(({ item }) => item);
  await made.end();
  expect([...pgpoolParameterNames.keys()].filter((name) => !known.includes(name))).toEqual([]);
});

it('serves repeated queries from its cache, until a write through it', async () => {
  const cached = await startPgpool(
    { primary, members: standbys.slice(0, 1), database: 'one', logins, monitoring: monitoring.name },
    { pgpool: { queryCache: { size: '8Mi', expire: '60s' } }, members: [member(0)] },
  );
  try {
    await eventually('it is there', ({ nodes }) => nodes.length === 2, cached);
    const made = await client({}, cached);
    const count = async () =>
      (await made.query('SELECT count(*)::int AS n FROM items WHERE id > 5000')).rows[0].n;
    expect(await count()).toBe(0);
    await asSuperuser(primary, 'INSERT INTO items VALUES (5001)');
    expect(await count()).toBe(0);
    await made.query('INSERT INTO items VALUES (5002)');
    await waitFor('the result is read anew', async () => {
      const n = await count();
      return n === 2 ? { done: n } : { state: n };
    });
    await made.end();
  } finally {
    await cached.stop();
  }
});

it('serves one client at a time where servers have no connections for more', async () => {
  const small = await startPgpool({
    primary,
    members: standbys.slice(0, 1),
    database: 'one',
    logins,
    monitoring: monitoring.name,
    clients: 1,
  });
  try {
    const made = await waitFor('it takes a client', async () => ({ done: await client({}, small) }));
    expect((await made.query('SELECT count(*) > 0 AS some FROM items')).rows).toEqual([{ some: true }]);
    await made.end();
  } finally {
    await small.stop();
  }
});

it('follows the Service to another primary, and so do the members that it reads', async () => {
  await settle({ members: [member(0), member(1)], pgpool: { maxLag: '5s', primaryWeight: 0 } });
  const heir = await startPostgres({
    ssl: true,
    standby: { name: 'heir', of: primary },
    parameters: { wal_keep_size: '64MB' },
  });
  try {
    await waitFor('it has everything', async () => {
      const [row] = await asSuperuser<{ same: boolean }>(
        primary,
        'SELECT bool_and(replay_lsn = pg_current_wal_lsn()) AS same FROM pg_stat_replication',
      );
      return row?.same ? { done: true } : { state: row };
    });
    await primary.stop();
    await expect(once('INSERT INTO items VALUES (1)')).rejects.toThrow();
    await asSuperuser(heir, 'SELECT pg_promote()');
    service.to(heir.port);
    const { port } = await waitFor('writes go on', async () => ({
      done: await once<{ port: number }>(
        'INSERT INTO items VALUES (9000) RETURNING inet_server_port() AS port',
      ),
    }));
    expect(port).toBe(heir.port);
    await waitFor('a member shows what was written since', async () => {
      const { at, n } = await once<{ at: number; n: number }>(
        'SELECT inet_server_port() AS at, count(*)::int AS n FROM items WHERE id = 9000',
      );
      return at === standbys[0]?.port && n > 0 ? { done: at } : { state: [at, n, await facts()] };
    });
  } finally {
    await heir.stop();
  }
});
