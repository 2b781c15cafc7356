import type { Connection } from './connection.ts';
import { quoteIdentifier, quoteLiteral } from './identifier.ts';
import { insufficientPrivilege, PostgresError } from './postgres-error.ts';
import type { Statement } from './statement.ts';

/** Texts of values as the map has them, whatever the session's settings are. */
const settings =
  "SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' SET TimeZone = 'UTC' SET IntervalStyle = 'postgres'";

/**
 * Asks as the role that owns what is read: casts, and checks of domains, may be functions of users. They run in a function of
 * the owner's, since after a mere SET ROLE they could go back to the rights of the operator. All values are texts; nobody
 * else ever sees the function, which goes with all that was done.
 */
export async function askAsOwner<Row extends object>(
  connection: Connection,
  owner: string,
  { text, values = [] }: Statement,
): Promise<Row[]> {
  const types = values.map(() => 'text').join(', ');
  const places = values.map((_, index) => `$${index + 1}`).join(', ');
  try {
    const [right] = await connection.query<{ has: boolean; database: string }>({
      text: `BEGIN; SELECT has_database_privilege(${quoteLiteral(owner)}, current_database(), 'TEMPORARY') AS has,
        current_database() AS database`,
    });
    if (right?.has === false) {
      const grant = `GRANT TEMPORARY ON DATABASE ${quoteIdentifier(right.database)} TO ${quoteIdentifier(owner)}`;
      const message = `role "${owner}" owns the table, and may make nothing temporary, as which keys are asked about: ${grant}`;
      throw new PostgresError({ sqlstate: insufficientPrivilege, message });
    }
    await connection.query({
      text: [
        `SET LOCAL ROLE ${quoteIdentifier(owner)}`,
        `CREATE FUNCTION pg_temp.herdsman_question(${types}) RETURNS SETOF json LANGUAGE sql SECURITY DEFINER ${settings}
          AS ${quoteLiteral(`SELECT to_json(r) FROM (${text}) r`)}`,
        'RESET ROLE',
      ].join(';\n'),
    });
    const rows = await connection.query<{ answer: Row }>({
      text: `SELECT pg_temp.herdsman_question(${places}) AS answer`,
      values,
    });
    return rows.map(({ answer }) => answer);
  } finally {
    if (!connection.closed) await connection.query({ text: 'ROLLBACK' });
  }
}
