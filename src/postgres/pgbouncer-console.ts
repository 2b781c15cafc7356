import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import pg from 'pg';
import { endSession } from './farewell.ts';
import { quoteIdentifier } from './identifier.ts';
import { PostgresError, UnreachableError } from './postgres-error.ts';

/** How to reach the admin console of one PgBouncer. */
export interface ConsoleOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** PEM of the authorities that are trusted. */
  readonly ca: string;
  /** Name that the certificate must have, whatever address is dialled. */
  readonly servername: string;
  /** For connecting, and for each command that does not wait by its nature. Default 3 s. */
  readonly timeoutMs?: number;
}

/** One pool: a database and a user. */
export interface PoolRow {
  readonly database: string;
  readonly user: string;
  readonly cl_active: number;
  readonly cl_waiting: number;
  readonly sv_active: number;
  readonly sv_idle: number;
  readonly sv_used: number;
  readonly sv_tested: number;
  readonly sv_login: number;
  /** Seconds. */
  readonly maxwait: number;
}

/** One connection to a server. */
export interface ServerRow {
  readonly database: string;
  /** `new` while it logs in. */
  readonly state: string;
  /** Tells it from others that there are at the same time. */
  readonly ptr: string;
  /** Process id of its session; 0 until it is logged in. */
  readonly remote_pid: number;
  readonly local_port: number;
}

/** One database. */
export interface DatabaseRow {
  readonly name: string;
  readonly paused: number;
  readonly disabled: number;
}

/** The admin console (PgBouncer 1.24). Errors are `PostgresError` (it answered) or `UnreachableError`. */
export interface Console {
  showDatabases(): Promise<DatabaseRow[]>;
  showPools(): Promise<PoolRow[]>;
  showServers(): Promise<ServerRow[]>;
  /** Settings by name. */
  showConfig(): Promise<ReadonlyMap<string, string>>;
  reload(): Promise<void>;
  /** Resolves when no transaction is left; its clients wait from the moment it is sent. */
  pause(database: string): Promise<void>;
  /** Lets clients go on; that they do already is no error. */
  resume(database: string): Promise<void>;
  /** Changes a setting until the next `reload`. */
  set(name: string, value: number): Promise<void>;
  /** Replaces every server connection as soon as its transaction ends. */
  reconnect(database: string): Promise<void>;
  close(): Promise<void>;
}

/** Opens a session. It speaks the simple protocol only and knows no startup options, so it is none of `connect`. */
export async function openConsole(options: ConsoleOptions): Promise<Console> {
  const timeout = options.timeoutMs ?? 3_000;
  const where = `${options.host}:${options.port}/pgbouncer`;
  const client = new pg.Client({
    host: options.host,
    port: options.port,
    user: options.user,
    password: options.password,
    database: 'pgbouncer',
    application_name: 'herdsman',
    connectionTimeoutMillis: timeout,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    ssl: {
      ca: options.ca,
      servername: options.servername,
      minVersion: 'TLSv1.2',
      checkServerIdentity: (_: string, certificate: PeerCertificate) =>
        checkServerIdentity(options.servername, certificate),
    },
  });
  // A session that ends while nothing runs reports here; the next command fails, and tells.
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    client.end().catch(() => undefined);
    throw typed(error, `cannot connect to ${where}`);
  }

  async function command<Row extends object>(text: string, timeoutMs = timeout): Promise<Row[]> {
    try {
      const config = { text, ...(timeoutMs === 0 ? {} : { query_timeout: timeoutMs }) };
      return (await client.query<Row & pg.QueryResultRow>(config)).rows;
    } catch (error) {
      throw typed(error, `${text} at ${where}`);
    }
  }

  return {
    showDatabases: () => command<DatabaseRow>('SHOW DATABASES'),
    async showPools() {
      const rows = await command<Readonly<Record<string, string | number>>>('SHOW POOLS');
      return rows.map(poolOf);
    },
    showServers: () => command<ServerRow>('SHOW SERVERS'),
    async showConfig() {
      const rows = await command<{ key: string; value: string | null }>('SHOW CONFIG');
      return new Map(rows.map(({ key, value }) => [key, value ?? '']));
    },
    async reload() {
      await command('RELOAD');
    },
    async pause(database) {
      await command(`PAUSE ${quoteIdentifier(database)}`, 0);
    },
    async resume(database) {
      try {
        await command(`RESUME ${quoteIdentifier(database)}`);
      } catch (error) {
        if (!(error instanceof PostgresError && /is not paused/.test(error.message))) throw error;
      }
    },
    async set(name, value) {
      await command(`SET ${name} = ${value}`);
    },
    async reconnect(database) {
      await command(`RECONNECT ${quoteIdentifier(database)}`);
    },
    async close() {
      await endSession(client).catch(() => undefined);
    },
  };
}

/** Counts are 64 bits wide, which the driver hands over as text. */
function poolOf(row: Readonly<Record<string, string | number>>): PoolRow {
  const number = (name: string): number => Number(row[name] ?? 0);
  return {
    database: String(row.database),
    user: String(row.user),
    cl_active: number('cl_active'),
    cl_waiting: number('cl_waiting'),
    sv_active: number('sv_active'),
    sv_idle: number('sv_idle'),
    sv_used: number('sv_used'),
    sv_tested: number('sv_tested'),
    sv_login: number('sv_login'),
    maxwait: number('maxwait'),
  };
}

function typed(error: unknown, context: string): Error {
  if (error instanceof pg.DatabaseError && error.code !== undefined && error.severity !== 'FATAL') {
    return new PostgresError({ message: `${context}: ${error.message}`, sqlstate: error.code });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new UnreachableError(`${context}: ${message}`, { cause: error });
}
