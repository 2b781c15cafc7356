import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import pg from 'pg';
import { endSession } from './farewell.ts';
import { PostgresError, UnreachableError } from './postgres-error.ts';
import type { Statement } from './statement.ts';

/** How to reach a database. */
export interface ConnectOptions {
  /** Address to dial. */
  readonly host: string;
  /** Default 5432. */
  readonly port?: number;
  readonly database: string;
  readonly user: string;
  readonly password?: string;
  /** TLS is verified in full: chain and name. `off` is for servers that offer none. */
  readonly tls: TlsOptions | 'off';
  /** For a server that is not ours, and may be older; `encrypted`: where `tls` is off, by TLS with whatever certificate it has. */
  readonly foreign?: { readonly encrypted: boolean };
  readonly applicationName?: string;
  /** Default 5 s. */
  readonly connectTimeoutMs?: number;
  /** Default 30 s; 0: none. The client gives up 5 s later, when the server is silent. */
  readonly statementTimeoutMs?: number;
  /** Whether the session speaks the replication protocol, for the commands that only a walsender knows. */
  readonly replication?: boolean;
}

/** Whom to trust, and what to prove. */
interface TlsOptions {
  /** PEM of the authorities that are trusted. */
  readonly ca: string;
  /** Name that the server's certificate must have, whatever address is dialled. */
  readonly servername: string;
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
}

/** One session. Errors are `PostgresError` (it answered) or `UnreachableError` (what happened is unknown). */
export interface Connection {
  /** Runs one statement, or several in one text without values, and returns the rows of the last. */
  query<Row extends object = Record<string, unknown>>(statement: Statement): Promise<Row[]>;
  /** Runs work between BEGIN and COMMIT, and rolls back if it throws. */
  transaction<T>(work: () => Promise<T>, begin?: string): Promise<T>;
  /** The session's client, for COPY. */
  readonly client: pg.Client;
  /** Whether the session has ended. */
  readonly closed: boolean;
  close(): Promise<void>;
}

/** Opens a session whose `search_path` is pinned to the system's own schema. */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const statementTimeout = options.statementTimeoutMs ?? 30_000;
  const client = new pg.Client({
    host: options.host,
    port: options.port ?? 5432,
    database: options.database,
    user: options.user,
    ...(options.password === undefined ? {} : { password: options.password }),
    application_name: options.applicationName ?? 'herdsman',
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    ...(statementTimeout === 0 ? {} : { query_timeout: statementTimeout + 5_000 }),
    options: sessionSettings(statementTimeout, options.foreign !== undefined),
    ...(options.replication === true ? { replication: 'database' } : {}),
    ssl: options.tls === 'off' ? unverified(options) : tlsConfig(options.tls),
  });
  const state = { closed: false };
  client.on('end', () => {
    state.closed = true;
  });
  // A session that ends while nothing runs reports here; the next query fails, and tells.
  client.on('error', () => {
    state.closed = true;
  });
  const where = `${options.host}:${options.port ?? 5432}/${options.database}`;
  try {
    await client.connect();
  } catch (error) {
    client.end().catch(() => undefined);
    throw typedError(error, `cannot connect to ${where} as ${options.user}`);
  }
  return sessionOf(client, state, where);
}

/**
 * A server notices within half a minute that we are gone, and gives back the locks of what we were doing. What a session writes
 * goes to the disk as it is written: left to the next checkpoint, a large copy holds up the commits of all for 100 ms and more.
 */
function sessionSettings(statementTimeout: number, isForeign: boolean): string {
  return Object.entries({
    search_path: 'pg_catalog,pg_temp',
    statement_timeout: statementTimeout,
    tcp_keepalives_idle: 10,
    tcp_keepalives_interval: 5,
    tcp_keepalives_count: 3,
    backend_flush_after: '1MB',
    // Rows that a policy hides from us are an error, and not left out.
    ...(isForeign ? { row_security: 'off' } : { client_connection_check_interval: 5000 }),
  })
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');
}

function unverified({ foreign }: ConnectOptions) {
  return foreign?.encrypted === true ? { rejectUnauthorized: false } : false;
}

function tlsConfig(tls: TlsOptions) {
  return {
    ca: tls.ca,
    // The name that is asked for must not be an address (RFC 6066); what the certificate says is checked all the same.
    ...(isIP(tls.servername) === 0 ? { servername: tls.servername } : {}),
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2' as const,
    checkServerIdentity: (_: string, certificate: PeerCertificate) =>
      checkServerIdentity(tls.servername, certificate),
    ...(tls.clientCertificate ?? {}),
  };
}

function sessionOf(client: pg.Client, state: { closed: boolean }, where: string): Connection {
  const destroy = () => {
    state.closed = true;
    client.end().catch(() => undefined);
  };
  const query: Connection['query'] = async <Row extends object>({ text, values }: Statement) => {
    if (state.closed) throw new UnreachableError(`the connection to ${where} has ended`);
    try {
      const result = await (values === undefined
        ? client.query<Row & pg.QueryResultRow>(text)
        : client.query<Row & pg.QueryResultRow>(text, [...values]));
      // Several statements in one text give an array of results.
      const last = Array.isArray(result)
        ? (result.at(-1) as pg.QueryResult<Row & pg.QueryResultRow>)
        : result;
      return last.rows;
    } catch (error) {
      const known = typedError(error, `lost the connection to ${where}`);
      if (known instanceof UnreachableError) destroy();
      throw known;
    }
  };
  return {
    client,
    query,
    get closed() {
      return state.closed;
    },
    async transaction(work, begin = 'BEGIN') {
      await query({ text: begin });
      try {
        const value = await work();
        await query({ text: 'COMMIT' });
        return value;
      } catch (error) {
        if (!state.closed) await query({ text: 'ROLLBACK' }).catch(destroy);
        throw error;
      }
    },
    async close() {
      if (state.closed) return;
      state.closed = true;
      await endSession(client);
    },
  };
}

/** SQLSTATEs with which a server ends the session: it is going down, or not up yet. */
const endings = new Set(['57P01', '57P02', '57P03', '57P05', '25P03', '08006', '08003', '08000']);

/** An error of the driver's as one of ours: also one that a stream of COPY had, which is read without `query`. */
export function typedError(error: unknown, context: string): Error {
  if (error instanceof PostgresError || error instanceof UnreachableError) return error;
  if (error instanceof pg.DatabaseError && error.code !== undefined) {
    if (endings.has(error.code)) return new UnreachableError(`${context}: ${error.message}`);
    return new PostgresError({
      message: error.message,
      sqlstate: error.code,
      detail: error.detail,
      hint: error.hint,
      position: error.position === undefined ? undefined : Number(error.position),
      internalPosition: error.internalPosition === undefined ? undefined : Number(error.internalPosition),
      schema: error.schema,
    });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new UnreachableError(`${context}: ${message}`, { cause: error });
}
