import type { ConvertingTable } from '../../sharding/conversion/model.ts';
import type { Group, GroupTable } from '../../sharding/layout.ts';
import { partitionsOf } from '../../sharding/leaves.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import {
  asOwner,
  block,
  type ConversionContext,
  type ConversionStep,
  demandPhase,
  done,
  setPhase,
} from './context.ts';
import { newSchema, oldSchema } from './schema.ts';
import { changesOf, makeLike, noteFunction, readTable, type TableFacts } from './table.ts';

/** How long noting may wait for writers under way: others wait behind it. */
const noteLockMs = 50;
/** How long autovacuum may take to leave a table. */
const patientLockMs = 5_000;
const methods = { hash: 'HASH', range: 'RANGE', geographic: 'LIST', directory: 'LIST' } as const;

/** The clause by which a table of the group is partitioned. */
export function partitionClause(group: Group, table: GroupTable): string {
  return ` PARTITION BY ${methods[group.strategy]} (${quoteIdentifier(table.key)})`;
}

/** Schemas in which the owner of the tables may make others. */
export function makeSchemas(owner: string): string[] {
  return [newSchema, oldSchema].flatMap((schema) => [
    `CREATE SCHEMA IF NOT EXISTS ${schema}`,
    `GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${quoteIdentifier(owner)}`,
  ]);
}

/** Step 1: the empty partitioned tables with all their leaves, and places for the keys of rows that change; all or nothing. */
export async function stage(connection: Connection, context: ConversionContext): Promise<ConversionStep> {
  const { group, owned } = context;
  const tables = await readTables(connection, group);
  const owner = tables[0]?.owner ?? '';
  const made = group.tables.flatMap((table, index) => {
    const facts = tables[index];
    if (facts === undefined) return [];
    return [
      ...makeLike(facts, newSchema, partitionClause(group, table)),
      ...partitionsOf(group, table, owned, newSchema).map(({ text }) => text),
    ];
  });
  await runTogether(connection, [
    `INSERT INTO herdsman.conversions (group_name, phase, layout) VALUES
      (${quoteLiteral(group.name)}, 'staged', ${quoteLiteral(JSON.stringify(group))}::jsonb)`,
    ...makeSchemas(owner),
    ...asOwner(owner, made),
    ...tables.flatMap((facts) => noteStatements(facts, owner)),
  ]);
  return done;
}

/** In the order of the group. */
export async function readTables(
  connection: Connection,
  group: Group,
  schema = applicationSchema,
): Promise<TableFacts[]> {
  const tables: TableFacts[] = [];
  for (const { name } of group.tables) tables.push(await readTable(connection, schema, name));
  return tables;
}

/** With the rights of the operator, whoever writes: the keys are nobody else's to change. */
function noteStatements(facts: TableFacts, owner: string): string[] {
  const changes = changesOf(facts.name);
  const serving = qualified(applicationSchema, facts.name);
  const key = (row: string) => facts.primaryKey.map((column) => `${row}.${column}`).join(', ');
  return [
    `CREATE TABLE ${changes} AS SELECT ${facts.primaryKey.join(', ')} FROM ${serving} WITH NO DATA`,
    `GRANT SELECT, DELETE ON ${changes} TO ${quoteIdentifier(owner)}`,
    `CREATE OR REPLACE FUNCTION ${noteFunction(facts.name)}() RETURNS trigger
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
      BEGIN
        IF TG_OP <> 'INSERT' THEN
          INSERT INTO ${changes} VALUES (${key('OLD')});
        END IF;
        IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND (${key('NEW')}) IS DISTINCT FROM (${key('OLD')})) THEN
          INSERT INTO ${changes} VALUES (${key('NEW')});
        END IF;
        RETURN NULL;
      END $function$`,
    `REVOKE EXECUTE ON FUNCTION ${noteFunction(facts.name)}() FROM PUBLIC`,
    `GRANT EXECUTE ON FUNCTION ${noteFunction(facts.name)}() TO ${quoteIdentifier(owner)}`,
  ];
}

/** The trigger that notes changes of the table that serves. */
export function noteTrigger(table: string, isAlways: boolean): string[] {
  const name = qualified(applicationSchema, table);
  return [
    `CREATE TRIGGER herdsman_note AFTER INSERT OR UPDATE OR DELETE ON ${name} FOR EACH ROW EXECUTE FUNCTION ${noteFunction(table)}()`,
    ...(isAlways ? [`ALTER TABLE ${name} ENABLE ALWAYS TRIGGER herdsman_note`] : []),
  ];
}

/**
 * Has autovacuum leave tables alone for a moment, which it does when somebody waits for its lock as long as PostgreSQL looks for
 * deadlocks. Whoever keeps writers out cannot wait so long, and would find another of many partitions busy each time.
 */
export async function sendAutovacuumAway(
  connection: Connection,
  owner: string,
  tables: readonly string[],
): Promise<void> {
  const lock = `LOCK TABLE ${tables.join(', ')} IN SHARE UPDATE EXCLUSIVE MODE`;
  await runTogether(connection, asOwner(owner, [lock]), { lockTimeoutMs: patientLockMs });
}

/**
 * Step 2: from its commit on every change is noted, since CREATE TRIGGER waits for the writers under way. What was committed
 * before and is not changed after stays where it is in the table's blocks, so that these are what has to be copied.
 */
export async function note(connection: Connection, { group }: ConversionContext): Promise<ConversionStep> {
  const { owner } = await readTable(connection, applicationSchema, group.tables[0]?.name ?? '');
  const serving = group.tables.map(({ name }) => qualified(applicationSchema, name));
  await sendAutovacuumAway(connection, owner, serving);
  await connection.transaction(async () => {
    await connection.query({
      text: [
        `SET LOCAL lock_timeout = ${noteLockMs}`,
        block(demandPhase(group.name, 'staged')),
        ...asOwner(
          owner,
          group.tables.flatMap(({ name }) => noteTrigger(name, true)),
        ),
      ].join(';\n'),
    });
    const tables = (await readTables(connection, group)).map(
      ({ name, filenode, blocks }): ConvertingTable => ({ name, filenode, blocks, next: 0 }),
    );
    const value = `${quoteLiteral(JSON.stringify(tables))}::jsonb`;
    await connection.query({ text: setPhase(group.name, 'copying', `, tables = ${value}`) });
  });
  return done;
}
