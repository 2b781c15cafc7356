import { addPlainKey } from '../../sharding/foreign-keys.ts';
import type { Group } from '../../sharding/layout.ts';
import { applicationSchema } from '../../sharding/names.ts';
import { startNumbers } from '../../sharding/sequences.ts';
import { readKeyCatalog } from '../catalog.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { asOwner, block, type ConversionStep, done, raise } from './context.ts';
import { newSchema, oldSchema } from './schema.ts';
import { makeSchemas, partitionClause, readTables } from './stage.ts';
import { recordKeys, triggersOf, viewsOf } from './switch.ts';
import { carryPublications, makeLike, missingIndexes, replaceTable, type TableFacts } from './table.ts';

/**
 * Makes the empty tables of a group partitioned, or plain again, on a shard that has no rows of it; all or nothing, and refused
 * if there is a row.
 */
export async function replaceEmpty(
  connection: Connection,
  group: Group,
  wanted: 'partitioned' | 'plain',
  shardIndex: number,
): Promise<ConversionStep> {
  const all = await readTables(connection, group);
  const { tables: known, foreignKeys, recordedKeys } = await readKeyCatalog(connection);
  const isDone = (name: string) =>
    known.find((table) => table.name === name)?.partitioned === (wanted === 'partitioned');
  const tables = all.filter(({ name }) => !isDone(name));
  const owner = tables[0]?.owner;
  if (owner === undefined) return done;
  const has = (key: { readonly table: string }) => tables.some(({ name }) => name === key.table);
  const keys = (wanted === 'partitioned' ? foreignKeys : recordedKeys).filter(has);
  const names = tables.map(({ name }) => qualified(applicationSchema, name));
  const make = tables.flatMap((facts) => {
    const table = group.tables.find(({ name }) => name === facts.name);
    const clause = wanted === 'partitioned' && table !== undefined ? partitionClause(group, table) : '';
    const made = { ...facts, constraints: facts.constraints.filter(({ type }) => type === 'p'), indexes: [] };
    return [...makeLike(facts, newSchema, clause), ...missingIndexes(facts, made, newSchema)];
  });
  await runTogether(connection, [
    ...makeSchemas(owner),
    ...asOwner(owner, [`LOCK TABLE ${names.join(', ')} IN ACCESS EXCLUSIVE MODE`]),
    ...tables.map(({ name }) => block(demandEmpty(name))),
    ...asOwner(owner, [
      ...make,
      ...foreignKeysOff(tables),
      ...tables.flatMap((facts) => replaceTable(facts, newSchema, oldSchema)),
      ...tables.flatMap((facts) => triggersOf(facts)),
      ...(wanted === 'plain' ? keys.map((key) => addPlainKey(key).text) : []),
    ]),
    ...tables.flatMap((facts) => carryPublications(facts, oldSchema)),
    ...viewsOf(tables),
    ...asOwner(owner, [
      `DROP TABLE ${tables.map(({ name }) => qualified(oldSchema, name)).join(', ')}`,
      ...tables.flatMap(({ name }) => startNumbers(name, shardIndex, 'all')),
    ]),
    ...(wanted === 'partitioned'
      ? recordKeys(keys)
      : keys.map((key) => `DELETE FROM herdsman.foreign_keys WHERE table_name = ${quoteLiteral(key.table)}`)),
  ]);
  return done;
}

function foreignKeysOff(tables: readonly TableFacts[]): string[] {
  return tables.flatMap(({ name, foreignKeys }) =>
    foreignKeys.map((key) => `ALTER TABLE ${qualified(applicationSchema, name)} DROP CONSTRAINT ${key.name}`),
  );
}

function demandEmpty(name: string): string {
  const message = `table "${name}" has rows on two shards: only one may have some when it is distributed`;
  return `IF EXISTS (SELECT FROM ${qualified(applicationSchema, name)}) THEN ${raise('waiting', 'RowsOnTwoShards', message)} END IF;`;
}
