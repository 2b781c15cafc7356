import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier } from '../identifier.ts';
import { statement } from '../statement.ts';
import type { Leaf } from './context.ts';

/** A range of blocks of one leaf, which is copied by one COPY. */
export interface CopyPart {
  readonly from: string;
  readonly to: string;
  /** Its share of the leaf's size on disk, TOAST included. */
  readonly bytes: number;
}

/** Blocks of one part: small enough that two streams end at about the same time. */
const blocksOfPart = 4_096;

interface LeafRow {
  readonly blocks: number;
  readonly bytes: number;
  readonly columns: readonly string[];
  readonly binary: boolean;
}

/**
 * What there is of a leaf. Its binary form is the same on both shards unless OIDs of users' types are in it, as in arrays and
 * rows of them, or a type has none.
 */
const leafQuery = `
SELECT (pg_relation_size($1::regclass) / current_setting('block_size')::int)::int AS blocks,
  pg_table_size($1::regclass)::float8 AS bytes,
  jsonb_agg(a.attname ORDER BY a.attnum) AS columns,
  bool_and(t.typreceive <> 0 AND t.typsend <> 0 AND CASE WHEN t.oid < 16384 THEN true
    WHEN t.typtype = 'd' THEN t.typbasetype < 16384
    ELSE t.typtype = 'e' OR (t.typtype = 'b' AND t.typcategory <> 'A') END) AS binary
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''`;

/** The parts of a leaf in the order of its blocks; the last one takes what the table has grown by since. */
export async function partsOf(connection: Connection, leaf: Leaf): Promise<CopyPart[]> {
  const [row] = await connection.query<LeafRow>(statement(leafQuery, leaf.qualified));
  if (row === undefined) return [];
  const columns = row.columns.map(quoteIdentifier).join(', ');
  const format = `(FORMAT ${row.binary ? 'binary' : 'text'})`;
  const name = qualified(applicationSchema, leaf.name);
  const count = Math.max(1, Math.ceil(row.blocks / blocksOfPart));
  return Array.from({ length: count }, (_, index) => {
    const lower = `ctid >= '(${index * blocksOfPart},0)'`;
    const upper = index + 1 === count ? '' : ` AND ctid < '(${(index + 1) * blocksOfPart},0)'`;
    return {
      from: `COPY (SELECT ${columns} FROM ONLY ${name} WHERE ${lower}${upper}) TO STDOUT ${format}`,
      to: `COPY ${name} (${columns}) FROM STDIN ${format}`,
      bytes: Math.round(row.bytes / count),
    };
  });
}
