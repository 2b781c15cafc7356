import type { StepResult } from '../../sharding/move/model.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteLiteral } from '../identifier.ts';
import { PostgresError } from '../postgres-error.ts';
import { statement } from '../statement.ts';
import { block, guardCondition, leavesOf, type MoveContext } from './context.ts';

/** SQLSTATE by which the fence tells that a leaf is no longer what was copied. */
const changedState = 'HD005';

/**
 * SQL of what a source's leaf is made of: its columns, the file that its rows are in, and what wrote the columns' rows of the catalog.
 * A migration may give every row another value and leave names and types as they are, which the stream of a copy does not tell; it
 * writes both anew. TRUNCATE changes the file alone, another DEFAULT the rows of the catalog alone.
 */
function shapeOf(relation: string): string {
  return `(SELECT jsonb_build_object('file', pg_relation_filenode(c.oid), 'written', md5(string_agg(a.xmin::text, ' ' ORDER BY a.attnum)),
      'columns', md5(string_agg(concat_ws(' ', c.oid, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), d.oid), ',' ORDER BY a.attnum)))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum AND a.attgenerated <> ''
    WHERE c.oid = to_regclass(format('${applicationSchema}.%I', ${relation})) AND a.attnum > 0 AND NOT a.attisdropped GROUP BY c.oid)`;
}

/** SQL of an array with the names of the source's leaves. */
function leafNames(context: MoveContext): string {
  return `ARRAY[${leavesOf(context, 'source')
    .map(({ name }) => quoteLiteral(name))
    .join(', ')}]::text[]`;
}

/** SQL of what the source's leaves are made of now, as it is kept in `herdsman.moves.shapes` while they are copied. */
export function shapes(context: MoveContext): string {
  return `(SELECT jsonb_object_agg(w.name, ${shapeOf('w.name')}) FROM unnest(${leafNames(context)}) w(name))`;
}

/** Query of a leaf of the source, `name`, that is no longer what was copied. */
function changedLeaf(context: MoveContext): string {
  const differs = (part: string) => `now.shape -> '${part}' IS DISTINCT FROM m.shapes -> w.name -> '${part}'`;
  return `SELECT w.name FROM herdsman.moves m, unnest(${leafNames(context)}) w(name), LATERAL (SELECT ${shapeOf('w.name')} AS shape) now
    WHERE ${guardCondition(context)} AND m.shapes IS NOT NULL
      AND (${differs('columns')} OR ${differs('file')} AND ${differs('written')}) LIMIT 1`;
}

/** PL/pgSQL that raises when a leaf of the source, which is locked, is no longer what was copied. */
export function demandUnchanged(context: MoveContext): string {
  return block(
    `changed := (${changedLeaf(context)});
    IF changed IS NOT NULL THEN RAISE EXCEPTION '%', changed USING ERRCODE = '${changedState}'; END IF;`,
    'DECLARE changed text;',
  );
}

/** What comes of such an exception. */
export function refusalOfChange(error: unknown): StepResult | undefined {
  return error instanceof PostgresError && error.sqlstate === changedState
    ? tableChanged(error.message)
    : undefined;
}

function tableChanged(table: string): StepResult {
  const message = `a migration has changed table "${table}": copying again`;
  return { kind: 'refused', reason: 'TableChanged', message, ends: 'copy' };
}

/**
 * Whether a migration has changed a table since it was copied: the source's leaves themselves, or the columns that the target's
 * leaves were made with, on either side.
 */
export async function findTableChange(context: MoveContext): Promise<StepResult | undefined> {
  const [changed] = await context.use('source', (connection) =>
    connection.query<{ name: string }>({ text: changedLeaf(context) }),
  );
  if (changed !== undefined) return tableChanged(changed.name);
  const leaves = leavesOf(context, 'target');
  const roots = leaves.map(({ table }) => qualified(applicationSchema, table));
  const [staged, target, source] = await Promise.all([
    context.use('target', (connection) =>
      readColumns(
        connection,
        leaves.map((leaf) => leaf.qualified),
      ),
    ),
    context.use('target', (connection) => readColumns(connection, roots)),
    context.use('source', (connection) => readColumns(connection, roots)),
  ]);
  const other = leaves.find((_, place) => staged[place] !== target[place] || staged[place] !== source[place]);
  return other && tableChanged(other.table);
}

/** The columns of tables, in their order, with all that two servers have to have in common. */
async function readColumns(connection: Connection, relations: readonly string[]): Promise<(string | null)[]> {
  const rows = await connection.query<{ columns: string | null }>(
    statement(
      `SELECT (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), c.collname,
            pg_get_expr(d.adbin, d.adrelid)), ',' ORDER BY a.attname)
          FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated <> ''
          WHERE a.attrelid = to_regclass(w.name) AND a.attnum > 0 AND NOT a.attisdropped) AS columns
        FROM unnest($1::text[]) WITH ORDINALITY w(name, place) ORDER BY w.place`,
      relations,
    ),
  );
  return rows.map(({ columns }) => columns);
}
