import type { ImportRecord, ShardFacts, ShardTable } from '../../sharding/import/model.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { asOwner } from '../conversion/context.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import type { ImportContext } from './context.ts';
import { tablesOf } from './look.ts';

interface Sequence {
  readonly name: string;
  /** Column that it belongs to, as `table.column`. */
  readonly column: string | null;
  /** `null` when it has given no number. */
  readonly last: string | null;
  readonly increment: string;
}

/** Of PostgreSQL 10 to 17. */
const sequencesQuery = `
SELECT s.sequencename AS name, s.last_value::text AS last, s.increment_by::text AS increment,
  (SELECT t.relname || '.' || a.attname FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid
      JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      AND d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass) AS "column"
FROM pg_sequences s WHERE s.schemaname = '${applicationSchema}'`;

function readSequences(connection: Connection): Promise<(Sequence & Record<string, unknown>)[]> {
  return connection.query({ text: sequencesQuery });
}

/** Types of columns that a sequence counts for. */
const numbers: ReadonlySet<string> = new Set(['smallint', 'integer', 'bigint', 'numeric']);

/**
 * The shard's sequences go on where the server's are: those of the same column of an imported table, and others of the same name;
 * one of a column that has no such sequence there, as where it was filled otherwise, after the numbers that the column has. None goes
 * back, so that doing it again changes nothing.
 */
export async function advanceSequences(
  context: ImportContext,
  record: ImportRecord,
  shard: ShardFacts,
): Promise<void> {
  const theirs = await context.useSource(readSequences);
  const tables = tablesOf(record, shard);
  const owner = tables[0]?.owner ?? '';
  await context.useShard(async (connection) => {
    const ours = await connection.transaction(async () => {
      await connection.query({ text: `SET LOCAL ROLE ${quoteIdentifier(owner)}` });
      return readSequences(connection);
    });
    const statements = ours.flatMap((sequence) => {
      const from = theirs.find((candidate) => isSame(candidate, sequence, tables));
      const target = `${quoteLiteral(qualified(applicationSchema, sequence.name))}::regclass`;
      if (from === undefined) return behindRows(sequence, target, tables);
      if (from.last === null || !isAhead(from.last, sequence)) return [];
      return [`SELECT pg_catalog.setval(${target}, ${from.last})`];
    });
    if (statements.length > 0) await runTogether(connection, asOwner(owner, statements));
  });
}

/** Lets the sequence of an imported column go on after the numbers that are there. */
function behindRows(
  { column, last, increment }: Sequence,
  target: string,
  tables: readonly ShardTable[],
): string[] {
  const table = tables.find(({ name }) => column?.startsWith(`${name}.`));
  const name = column?.slice((table?.name.length ?? 0) + 1) ?? '';
  const type = table?.columns.find((candidate) => candidate.name === name)?.type;
  if (table === undefined || type === undefined || !numbers.has(type)) return [];
  const [furthest, beyond] = BigInt(increment) > 0n ? ['max', '>'] : ['min', '<'];
  const found = `SELECT ${furthest}(${quoteIdentifier(name)})::bigint AS value FROM ${qualified(applicationSchema, table.name)}`;
  return [
    `SELECT pg_catalog.setval(${target}, t.value) FROM (${found}) t WHERE ${last === null ? 't.value IS NOT NULL' : `t.value ${beyond} ${last}`}`,
  ];
}

function isSame(from: Sequence, to: Sequence, tables: readonly { readonly name: string }[]): boolean {
  if (to.column === null) return from.name === to.name;
  if (!tables.some(({ name }) => to.column?.startsWith(`${name}.`))) return false;
  return from.column === null ? from.name === to.name : from.column === to.column;
}

function isAhead(last: string, { last: own, increment }: Sequence): boolean {
  if (own === null) return true;
  return BigInt(increment) > 0n ? BigInt(last) > BigInt(own) : BigInt(last) < BigInt(own);
}
