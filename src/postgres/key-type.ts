import { applicationSchema } from '../sharding/names.ts';
import type { Connection } from './connection.ts';
import { qualified } from './identifier.ts';
import { statement } from './statement.ts';

/** How PostgreSQL compares the values of a table's key. */
export interface KeyType {
  readonly type: string;
  readonly collation: string;
  /** The role that owns the table. */
  readonly owner: string;
}

/** Type of a table's key, and how it is ordered; `undefined` where there is no such table or column. */
export async function findKeyType(
  connection: Connection,
  table: string,
  column: string,
): Promise<KeyType | undefined> {
  const [row] = await connection.query<KeyType & Record<string, unknown>>(
    statement(
      `SELECT format_type(a.atttypid, -1) AS type, pg_get_userbyid(r.relowner) AS owner,
          CASE WHEN a.attcollation = 0 THEN '' ELSE format(' COLLATE %I.%I', n.nspname, c.collname) END AS collation
        FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid
        LEFT JOIN pg_collation c ON c.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
        WHERE a.attrelid = to_regclass($1) AND a.attname = $2`,
      qualified(applicationSchema, table),
      column,
    ),
  );
  return row;
}

/** The same of a table and a column that are known to be there. */
export async function keyType(connection: Connection, table: string, column: string): Promise<KeyType> {
  const found = await findKeyType(connection, table, column);
  if (found === undefined) throw new Error(`table ${table} has no column ${column}`);
  return found;
}
