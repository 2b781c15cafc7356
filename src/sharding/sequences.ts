import { qualified, quoteLiteral } from '../postgres/identifier.ts';
import { type Statement, statement } from '../postgres/statement.ts';
import type { Group } from './layout.ts';
import { applicationSchema } from './names.ts';
import type { ShardCatalog } from './shard-catalog.ts';

/** Numbers that every shard has for itself, so that no two shards give the same one, wherever rows go later. */
const numbersPerShard = 10_000_000_000_000;

function firstNumber(shardIndex: number): number {
  return shardIndex * numbersPerShard + 1;
}

/**
 * FROM and WHERE of the sequences `s`, named `n.nspname` and `q.relname`, that belong to a column of a table `t` which has room
 * for any number that they give: an `integer` has none.
 */
export const roomySequences = `
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid
JOIN pg_catalog.pg_class q ON q.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = q.relnamespace
WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND a.atttypid IN ('bigint'::regtype, 'numeric'::regtype) AND a.atttypmod = -1 AND s.seqincrement > 0`;

/**
 * Statements that let the sequences of a table's columns begin with the shard's own numbers, `all` of them or the `unused` ones;
 * the owner runs them. None goes back, and the first shard counts from 1. It is START WITH too, so that RESTART IDENTITY goes
 * there.
 */
export function startNumbers(table: string, shardIndex: number, which: 'all' | 'unused'): string[] {
  if (shardIndex === 0) return [];
  const first = firstNumber(shardIndex);
  return [
    `DO $herdsman$
DECLARE
  owned record;
  due boolean;
BEGIN
  FOR owned IN SELECT n.nspname AS schema, q.relname AS name, s.seqstart AS start ${roomySequences}
    AND t.oid = ${quoteLiteral(qualified(applicationSchema, table))}::regclass AND s.seqmax > ${first}
  LOOP
    EXECUTE format('SELECT q.last_value < ${first} AND ($1 OR (NOT q.is_called AND q.last_value = $2)) FROM %I.%I q',
      owned.schema, owned.name) INTO due USING ${which === 'all'}, owned.start;
    IF due THEN
      EXECUTE format('ALTER SEQUENCE %I.%I START WITH ${first} RESTART WITH ${first}', owned.schema, owned.name);
    END IF;
  END LOOP;
END $herdsman$`,
  ];
}

/**
 * Plans the first numbers of sequences that have given none on the shard, nor were set by somebody: before the shard has a leaf
 * of their table, if it is new.
 */
export function planSequences(group: Group, shardIndex: number, catalog: ShardCatalog): Statement[] {
  const first = firstNumber(shardIndex);
  const isNew = (table: string) => catalog.distribution.every(({ table_name }) => table_name !== table);
  return group.tables
    .filter(({ name }) =>
      catalog.sequences.some(
        ({ table, start, maximum, unused }) =>
          table === name && start < first && maximum > first && (unused ?? isNew(name)),
      ),
    )
    .flatMap(({ name }) => startNumbers(name, shardIndex, 'unused'))
    .map((text) => statement(text));
}
