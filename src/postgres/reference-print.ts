import type { Connection } from './connection.ts';
import { qualified } from './identifier.ts';

/**
 * What tells whether tables have the same rows as their namesakes on another shard: number and hash, the same in whatever
 * order the rows are. Settings by which PostgreSQL prints values are pinned. A row is printed by `format`: a cast may be a user's
 * function, which would run with the operator's rights.
 */
export async function printsOf(
  connection: Connection,
  tables: readonly string[],
  { timeoutMs = 20_000 }: { timeoutMs?: number } = {},
): Promise<Map<string, string>> {
  const settings = [
    `statement_timeout = ${timeoutMs}`,
    "datestyle = 'ISO, YMD'",
    "intervalstyle = 'iso_8601'",
    "timezone = 'UTC'",
    "bytea_output = 'hex'",
    'extra_float_digits = 1',
  ];
  return connection.transaction(async () => {
    await connection.query({ text: settings.map((setting) => `SET LOCAL ${setting}`).join('; ') });
    const prints = new Map<string, string>();
    for (const table of tables) prints.set(table, await printOf(connection, table));
    return prints;
  }, 'BEGIN READ ONLY');
}

async function printOf(connection: Connection, table: string): Promise<string> {
  const [row] = await connection.query<{ print: string }>({
    text:
      `SELECT count(*) || '/' || coalesce(sum(hashtextextended(format('%s', t), 0)), 0) AS print ` +
      `FROM ${qualified('public', table)} t`,
  });
  return row?.print ?? '';
}
