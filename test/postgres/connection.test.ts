import { createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConnectOptions, connect } from '../../src/postgres/connection.ts';
import { createConnections } from '../../src/postgres/connections.ts';
import { PostgresError, UnreachableError } from '../../src/postgres/postgres-error.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { startSilence } from '../support/silence.ts';

let server: PostgresServer;
let options: ConnectOptions;

beforeAll(async () => {
  server = await startPostgres({ ssl: true });
  const { ca, ...clientCertificate } = await server.certificate('herdsman');
  const tls = { ca, servername: 'localhost', clientCertificate };
  options = { host: server.host, port: server.port, database: 'postgres', user: 'herdsman', tls };
});
afterAll(() => server?.stop());

const listen = async (onSocket: (socket: Socket) => void) => {
  const silent = createServer(onSocket).listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  const address = silent.address();
  return { silent, port: typeof address === 'object' && address !== null ? address.port : 0 };
};

describe('a connection', () => {
  it('is encrypted, proved by certificate, and pins its search path', async () => {
    const connection = await connect(options);
    const [row] = await connection.query<{ ssl: boolean; path: string; name: string }>({
      text: `SELECT ssl, current_setting('search_path') AS path, current_user AS name
        FROM pg_stat_ssl WHERE pid = pg_backend_pid()`,
    });
    expect(row).toEqual({ ssl: true, path: 'pg_catalog,pg_temp', name: 'herdsman' });
    await connection.close();
  });

  it('has what it writes put on the disk as it goes', async () => {
    const connection = await connect(options);
    expect(await connection.query({ text: 'SHOW backend_flush_after' })).toEqual([
      { backend_flush_after: '1MB' },
    ]);
    await connection.close();
  });

  it('is refused when the certificate has another name', async () => {
    const { ca } = await server.certificate('herdsman');
    const wrong = { ...options, tls: { ca, servername: 'shop-s0-rw.default.svc' } };
    await expect(connect(wrong)).rejects.toThrow(/shop-s0-rw\.default\.svc/);
    await expect(connect(wrong)).rejects.toBeInstanceOf(UnreachableError);
  });

  it('is refused when nobody that is trusted signed the certificate', async () => {
    await expect(connect({ ...options, tls: { ca: '', servername: 'localhost' } })).rejects.toBeInstanceOf(
      UnreachableError,
    );
  });

  it('gives PostgreSQL its own words back, with the SQLSTATE', async () => {
    const connection = await connect(options);
    await expect(connection.query({ text: 'SELECT nonsense' })).rejects.toMatchObject({
      sqlstate: '42703',
      position: 8,
    });
    await expect(connection.query({ text: 'SELECT nonsense' })).rejects.toBeInstanceOf(PostgresError);
    expect(connection.closed).toBe(false);
    await connection.close();
  });

  it('rolls back what throws', async () => {
    const connection = await connect(options);
    await connection.query({ text: 'CREATE TEMPORARY TABLE t (id int)' });
    const work = connection.transaction(async () => {
      await connection.query({ text: 'INSERT INTO pg_temp.t VALUES (1)' });
      throw new Error('no');
    });
    await expect(work).rejects.toThrow('no');
    expect(await connection.query({ text: 'SELECT * FROM pg_temp.t' })).toEqual([]);
    await connection.close();
  });

  it('is unknown, and closed, when the server goes away', async () => {
    const connection = await connect(options);
    const query = connection.query({ text: 'SELECT pg_terminate_backend(pg_backend_pid())' });
    await expect(query).rejects.toBeInstanceOf(UnreachableError);
    expect(connection.closed).toBe(true);
    await expect(connection.query({ text: 'SELECT 1' })).rejects.toBeInstanceOf(UnreachableError);
  });

  it('is closed soon also when the server has gone without a word', async () => {
    const silence = await startSilence(server);
    const connection = await connect({ ...options, host: silence.host, port: silence.port });
    silence.begin();
    await connection.close();
    expect(connection.closed).toBe(true);
    await silence.stop();
  });

  it('is unknown when nobody listens, or nobody answers', async () => {
    const sockets: Socket[] = [];
    const { silent, port } = await listen((socket) => sockets.push(socket));
    await expect(connect({ ...options, port, connectTimeoutMs: 50 })).rejects.toBeInstanceOf(
      UnreachableError,
    );
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
    await expect(connect({ ...options, port })).rejects.toBeInstanceOf(UnreachableError);
  });
});

describe('kept connections', () => {
  it('are lent again, clean, and closed when idle for long enough', async () => {
    const connections = createConnections({ idleMs: 100 });
    const pid = () =>
      connections.use(options, async (connection) => {
        const [row] = await connection.query<{ pid: number; path: string }>({
          text: "SELECT pg_backend_pid() AS pid, current_setting('search_path') AS path",
        });
        await connection.query({ text: 'SET search_path = public' });
        return row;
      });
    const first = await pid();
    expect(await pid()).toEqual(first);
    const [a, b] = await Promise.all([pid(), pid()]);
    expect(a?.pid).not.toBe(b?.pid);
    expect(connections.size).toBe(2);
    await expect.poll(() => connections.size, { timeout: 10_000 }).toBe(0);
    await connections.close();
  });

  it('are not kept when they have ended, and none after close()', async () => {
    const connections = createConnections();
    const ending = connections.use(options, (connection) =>
      connection.query({ text: 'SELECT pg_terminate_backend(pg_backend_pid())' }),
    );
    await expect(ending).rejects.toBeInstanceOf(UnreachableError);
    expect(connections.size).toBe(0);
    await connections.use(options, (connection) => connection.query({ text: 'SELECT 1' }));
    expect(connections.size).toBe(1);
    await connections.close();
    expect(connections.size).toBe(0);
  });

  it('are given back also when the server has gone without a word', async () => {
    const silence = await startSilence(server);
    const connections = createConnections({ cleanMs: 50 });
    const unlimited = { ...options, host: silence.host, port: silence.port, statementTimeoutMs: 0 };
    await connections.use(unlimited, async () => silence.begin());
    expect(connections.size).toBe(0);
    await silence.stop();
    await connections.close();
  });

  it('end when they are told to, and their locks with them', async () => {
    const connections = createConnections();
    const stop = new AbortController();
    const holds = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 815";
    const isHeld = async () => {
      const rows = await connections.use(options, (connection) => connection.query({ text: holds }));
      return rows.length > 0;
    };
    const slow = connections.use(
      { ...options, statementTimeoutMs: 0 },
      (connection) =>
        connection.transaction(() =>
          connection.query({ text: 'SELECT pg_advisory_xact_lock(815), pg_sleep(600)' }),
        ),
      stop.signal,
    );
    const ended = expect(slow).rejects.toBeInstanceOf(UnreachableError);
    await expect.poll(isHeld, { timeout: 10_000 }).toBe(true);
    stop.abort();
    await ended;
    await expect.poll(isHeld, { timeout: 20_000 }).toBe(false);
    const late = connections.use(
      options,
      (connection) => connection.query({ text: 'SELECT 1' }),
      stop.signal,
    );
    await expect(late).rejects.toThrow('aborted');
    await connections.close();
  });
});
