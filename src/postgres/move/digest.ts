import type { Move } from '../../sharding/move/model.ts';
import type { Connection } from '../connection.ts';
import { quoteIdentifier } from '../identifier.ts';
import { statement } from '../statement.ts';

/** What one side holds of one table. Two are the same only if their rows are, but for one chance in 2^64. */
export interface Digest {
  readonly rows: string;
  /** Null where there are no rows. */
  readonly hash: string | null;
}

/** Types that have a hash of their own that no two values share but by chance, and which is the same on every server. */
const hashedTypes = ['bool', 'int2', 'int4', 'oid', 'uuid', 'date', 'bytea'];
/** Types whose binary form tells values apart that are equal to PostgreSQL or to their hash: 1.0 and 1.00, 5 and -5, 0 and -0. */
const sentTypes = ['float4', 'float8', 'numeric', 'time', 'timestamp', 'timestamptz'];

/** A column, and an expression of its hash, which may be null where the value is. */
export interface Column {
  readonly name: string;
  readonly hash: string;
}

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly builtIn: boolean;
  readonly hashedBy: string | null;
  readonly sentBy: string;
}

/**
 * The hash of each column, by its name, since the two sides may have them in another order; the place is the seed, so that values
 * that change places show. A function is called directly where there is one of the very type: a row of one column costs more.
 * Text is taken byte by byte. A type's own output makes text of everything else: a cast may be a user's function, which would run
 * with the operator's rights.
 */
export async function columnsOf(connection: Connection, relation: string): Promise<Column[]> {
  const rows = await connection.query<ColumnRow>(
    statement(
      `SELECT a.attname AS name, t.typname AS type, t.typnamespace = 'pg_catalog'::regnamespace AS "builtIn", (
          SELECT f.proname FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash'
            JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amproclefttype = t.oid AND p.amprocrighttype = t.oid
            JOIN pg_proc f ON f.oid = p.amproc AND f.pronamespace = 'pg_catalog'::regnamespace AND f.proargtypes[0] = t.oid
            WHERE o.opcintype = t.oid AND o.opcdefault AND p.amprocnum = 2) AS "hashedBy",
          (SELECT f.proname FROM pg_proc f WHERE f.oid = t.typsend) AS "sentBy"
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname`,
      relation,
    ),
  );
  return rows.map((row, place) => ({ name: row.name, hash: hashOf(row, place) }));
}

function hashOf({ name, type, builtIn, hashedBy, sentBy }: ColumnRow, seed: number): string {
  const column = `t.${quoteIdentifier(name)}`;
  if (builtIn && hashedTypes.includes(type)) {
    return hashedBy === null
      ? `hash_record_extended(ROW(${column}), ${seed})`
      : `${quoteIdentifier(hashedBy)}(${column}, ${seed})`;
  }
  // Its own hash takes both halves as one.
  if (builtIn && type === 'int8')
    return `hashint8extended(${column}, ${seed}) # hashint4extended((${column} >> 32)::int4, ${-1 - seed})`;
  if (builtIn && sentTypes.includes(type))
    return `hash_record_extended(ROW(${quoteIdentifier(sentBy)}(${column})), ${seed})`;
  const isText = builtIn && (type === 'text' || type === 'varchar');
  const text = `CASE WHEN ${column} IS DISTINCT FROM NULL THEN format('%s', ${column}) END`;
  return `hashtextextended((${isText ? column : text}) COLLATE "C", ${seed})`;
}

/** Counts, or hashes too, the rows of one table in all the leaves given, in whatever order. */
export async function digest(
  connection: Connection,
  leaves: readonly { readonly qualified: string }[],
  columns: readonly Column[],
  verify: Move['verify'],
): Promise<Digest> {
  const list = columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  const values = columns.map(({ hash }, place) => `coalesce(${hash}, ${place})`).join(' # ');
  const rows = leaves.map((leaf) => `SELECT ${list} FROM ${leaf.qualified}`).join(' UNION ALL ');
  const settings =
    "SET DateStyle = ISO; SET TimeZone = 'UTC'; SET IntervalStyle = postgres; SET extra_float_digits = 1; SET bytea_output = hex";
  // Mixed once more: rows that exchange values would have the same sum too often.
  const query =
    verify === 'counts'
      ? `SELECT count(*)::text AS rows, '' AS hash FROM (${rows}) t`
      : `SELECT count(*)::text AS rows, sum(hash # hashint8extended(hash, 0))::text AS hash
          FROM (SELECT ${values} AS hash FROM (${rows}) t OFFSET 0) h`;
  const [found] = await connection.query<Digest>({ text: `${settings}; ${query}` });
  return found ?? { rows: '', hash: '' };
}
