import type { Connection } from './connection.ts';
import { quoteIdentifier, quoteLiteral } from './identifier.ts';
import { waitBriefly } from './lock-wait.ts';

/** What a server holds that would be missed if it went. */
export interface Holdings {
  /** Tables of the application database with rows, partitions apart; outside of `public` as `schema.table`. */
  readonly tablesWithRows: readonly string[];
  /** Databases beside the application's and those that every server has. */
  readonly otherDatabases: readonly string[];
  /** Prepared transactions of all databases. */
  readonly preparedTransactions: number;
}

/** Tables that are neither the system's nor Herdsman's nor an extension's. What a view holds can be made again. */
const tablesQuery = `
SELECT n.nspname AS schema, c.relname AS name,
  has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'herdsman', 'own')
  AND NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname <> 'public', n.nspname, c.relname`;

const serverQuery = `
SELECT (SELECT count(*)::int FROM pg_prepared_xacts) AS prepared,
  EXISTS (SELECT FROM pg_largeobject_metadata) AS large,
  coalesce((SELECT jsonb_agg(datname ORDER BY datname) FROM pg_database
    WHERE NOT datistemplate AND datname NOT IN ('postgres', current_database())), '[]') AS databases`;

interface FoundTable {
  readonly schema: string;
  readonly name: string;
  readonly readable: boolean;
}

/** Reads it, in the application database, as the operator. Fails where a table is locked (`isLocked`). */
export async function readHoldings(connection: Connection): Promise<Holdings> {
  return connection.transaction(async () => {
    await connection.query(waitBriefly);
    const tables = await connection.query<FoundTable & Record<string, unknown>>({ text: tablesQuery });
    // A table that may not be read may have rows.
    const hidden = tables.filter(({ readable }) => !readable).map(shownName);
    const [server] = await connection.query<{ prepared: number; large: boolean; databases: string[] }>({
      text: serverQuery,
    });
    return {
      tablesWithRows: [
        ...(await withRows(connection, tables)),
        ...hidden,
        ...(server?.large === true ? ['pg_catalog.pg_largeobject'] : []),
      ],
      otherDatabases: server?.databases ?? [],
      preparedTransactions: server?.prepared ?? 0,
    };
  }, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
}

async function withRows(connection: Connection, tables: readonly FoundTable[]): Promise<string[]> {
  const parts = tables
    .filter(({ readable }) => readable)
    .map((table) => {
      const name = `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;
      return `SELECT ${quoteLiteral(shownName(table))} AS name WHERE EXISTS (SELECT FROM ${name})`;
    });
  if (parts.length === 0) return [];
  const rows = await connection.query<{ name: string }>({ text: parts.join(' UNION ALL ') });
  return rows.map(({ name }) => name);
}

function shownName({ schema, name }: FoundTable): string {
  return schema === 'public' ? name : `${schema}.${name}`;
}
