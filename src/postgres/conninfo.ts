import type { Connection } from './connection.ts';
import { statement } from './statement.ts';

/**
 * A server that is gone without a word, with its pod or behind a network that is cut, is noticed within half a minute: nothing else
 * notices it while a table is copied.
 */
const watchful = {
  connect_timeout: '10',
  keepalives_idle: '10',
  keepalives_interval: '5',
  keepalives_count: '3',
};

/** A connection string of libpq. */
export function conninfoOf(parameters: Readonly<Record<string, string>>): string {
  return Object.entries({ ...parameters, ...watchful })
    .map(([key, value]) => `${key}='${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`)
    .join(' ');
}

/**
 * Hands a connection string to the rest of the transaction, which has it by `current_setting('herdsman.conninfo')`: the password in
 * it reaches the server as a value, not as text of a statement.
 */
export async function setConninfo(connection: Connection, conninfo: string): Promise<void> {
  await connection.query(statement("SELECT set_config('herdsman.conninfo', $1, true)", conninfo));
}
