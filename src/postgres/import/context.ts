import { createHash } from 'node:crypto';
import type { ImportSpec } from '../../api/v1alpha1/import.ts';
import type { ImportPhase, ImportRecord } from '../../sharding/import/model.ts';
import type { Connection, ConnectOptions } from '../connection.ts';
import { conninfoOf } from '../conninfo.ts';
import { block, raise } from '../conversion/context.ts';
import { quoteLiteral } from '../identifier.ts';
import { statement } from '../statement.ts';

/** What the steps of one import work with. */
export interface ImportContext {
  /** Name of everything that is made at the other server, and of the subscription. */
  readonly name: string;
  readonly source: ImportSpec;
  readonly login: SourceLogin;
  /** Where the tables go, for the message with which the other server refuses writes. */
  readonly destination: string;
  /** Works on the other server. */
  readonly useSource: Use;
  /** Works on the primary of the shard that gets the rows. */
  readonly useShard: Use;
}

/** Lends a session; only where a statement may take as long as it takes it is not cut off after half a minute. */
export type Use = <T>(work: (connection: Connection) => Promise<T>, isPatient?: boolean) => Promise<T>;

/** Who logs in at the other server, and which authority it has to be of. */
export interface SourceLogin {
  readonly username: string;
  readonly password: string;
  readonly ca?: string;
}

/** How the operator connects to the other server. */
export function sourceOptions(
  source: ImportSpec,
  login: SourceLogin,
  name: string,
  isPatient = false,
): ConnectOptions {
  const { mode } = source.tls;
  return {
    host: source.host,
    port: source.port,
    database: source.database,
    user: login.username,
    password: login.password,
    tls: mode === 'verify-full' ? { ca: login.ca ?? '', servername: source.host } : 'off',
    applicationName: name,
    foreign: { encrypted: mode !== 'disable' },
    ...(isPatient ? { statementTimeoutMs: 0 } : {}),
  };
}

/**
 * How the shard's subscription connects to it. Its libpq has no file with the authority: that it is the server that the operator
 * has verified is proved by SCRAM, which is bound to the channel, since only that server knows the password's verifier.
 */
export function sourceConninfo(source: ImportSpec, login: SourceLogin, name: string): string {
  const { mode } = source.tls;
  return conninfoOf({
    host: source.host,
    port: `${source.port}`,
    dbname: source.database,
    user: login.username,
    password: login.password,
    sslmode: mode === 'disable' ? 'disable' : 'require',
    ...(mode === 'verify-full' ? { channel_binding: 'require' } : {}),
    application_name: name,
  });
}

/** What tells one way to connect from another, without the password in it. */
export function connectionHash(conninfo: string): string {
  return createHash('sha256').update(conninfo).digest('hex').slice(0, 32);
}

/** A statement that is refused unless the import is in one of the phases; its row stays locked until the transaction's end. */
export function inPhase(name: string, ...phases: readonly ImportPhase[]): string {
  const list = phases.map(quoteLiteral).join(', ');
  return block(
    `PERFORM FROM herdsman.imports i WHERE i.name = ${quoteLiteral(name)} AND i.phase IN (${list}) FOR UPDATE; ` +
      `IF NOT FOUND THEN ${raise('waiting', 'Overtaken', 'somebody else has done this step')} END IF;`,
  );
}

/** A statement that sets the phase. */
export function setImport(name: string, phase: ImportPhase, more = ''): string {
  return `UPDATE herdsman.imports SET phase = '${phase}'${more} WHERE name = ${quoteLiteral(name)}`;
}

/** The import that a shard knows by a name; none while its schema is older. */
export async function readImport(connection: Connection, name: string): Promise<ImportRecord | undefined> {
  const [state] = await connection.query<{ there: boolean }>({
    text: "SELECT to_regclass('herdsman.imports') IS NOT NULL AS there",
  });
  if (state?.there !== true) return undefined;
  const ms = (column: string) => `floor(extract(epoch FROM i.${column}) * 1000)`;
  const [row] = await connection.query<{ record: ImportRecord }>(
    statement(
      `SELECT jsonb_build_object('name', i.name, 'phase', i.phase, 'tables', i.tables, 'source', i.source, 'connection', i.connection,
        'subscription', i.subscription, 'attempt', i.attempt, 'startedAtMs', ${ms('started_at')}, 'fencedAtMs', ${ms('fenced_at')},
        'switchedAtMs', ${ms('switched_at')}, 'fenceLsn', i.fence_lsn, 'failure', i.failure) AS record
        FROM herdsman.imports i WHERE i.name = $1`,
      name,
    ),
  );
  return row?.record;
}
