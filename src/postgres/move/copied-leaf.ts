import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier } from '../identifier.ts';
import { statement } from '../statement.ts';
import type { Leaf } from './context.ts';

/** What there is of a leaf that is copied. */
export interface CopiedLeaf {
  readonly name: string;
  readonly blocks: number;
  /** Its size on disk, TOAST included. */
  readonly bytes: number;
  /** Columns that are not generated, in their order. */
  readonly columns: readonly string[];
  /** Whether its binary form means the same on both shards. */
  readonly binary: boolean;
}

/** A range of blocks of one leaf, which is copied by one COPY. */
export interface CopyPart {
  readonly from: string;
  readonly to: string;
  /** Its share of the leaf's size. */
  readonly bytes: number;
}

/** Blocks of one part: small enough that two streams end at about the same time. */
const blocksOfPart = 4_096;

/** The binary form is the same on both shards unless OIDs are in it, as in arrays and rows of users' types and in `regclass`, or a type has none. */
const leafQuery = `
SELECT (pg_relation_size($1::regclass) / current_setting('block_size')::int)::int AS blocks,
  pg_table_size($1::regclass)::float8 AS bytes,
  jsonb_agg(a.attname ORDER BY a.attnum) AS columns,
  bool_and(t.typreceive <> 0 AND t.typsend <> 0 AND CASE WHEN t.oid < 16384 THEN t.typname !~ '^_?reg'
    WHEN t.typtype = 'd' THEN t.typbasetype < 16384 AND t.typbasetype::regtype::text !~ '^reg'
    ELSE t.typtype = 'e' OR (t.typtype = 'b' AND t.typcategory <> 'A') END) AS binary
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''`;

/** Reads it on the source. */
export async function readLeaf(
  connection: Connection,
  { name, qualified: relation }: Pick<Leaf, 'name' | 'qualified'>,
): Promise<CopiedLeaf> {
  const [row] = await connection.query<Omit<CopiedLeaf, 'name'>>(statement(leafQuery, relation));
  if (row === undefined) throw new Error(`no answer about ${relation}`);
  return { name, ...row };
}

/** Bytes of all of them. */
export function sizeOf(leaves: readonly Pick<CopiedLeaf, 'bytes'>[]): number {
  return leaves.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** The parts of a leaf in the order of its blocks; the last one takes what the table has grown by since. */
export function partsOf({ name, blocks, bytes, columns, binary }: CopiedLeaf): CopyPart[] {
  const names = columns.map(quoteIdentifier).join(', ');
  const format = `(FORMAT ${binary ? 'binary' : 'text'})`;
  const table = qualified(applicationSchema, name);
  const count = Math.max(1, Math.ceil(blocks / blocksOfPart));
  return Array.from({ length: count }, (_, index) => {
    const lower = `ctid >= '(${index * blocksOfPart},0)'`;
    const upper = index + 1 === count ? '' : ` AND ctid < '(${(index + 1) * blocksOfPart},0)'`;
    return {
      from: `COPY (SELECT ${names} FROM ONLY ${table} WHERE ${lower}${upper}) TO STDOUT ${format}`,
      to: `COPY ${table} (${names}) FROM STDIN ${format}`,
      bytes: Math.round(bytes / count),
    };
  });
}
