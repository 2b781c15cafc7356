import { type Conversion, isBeforeSwitch } from '../../sharding/conversion/model.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { statement } from '../statement.ts';
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
import { readTables } from './stage.ts';
import { catchUp, demandFiles } from './switch.ts';
import { changesOf, findChange, noteFunction, readTable } from './table.ts';

/** How long the last change of a table that serves may wait for its locks. */
const tidyLockMs = 50;

/** Step 8: the foreign keys, which were put on without a look at the rows, are validated beside the writers. */
export async function settle(connection: Connection, { group }: ConversionContext): Promise<ConversionStep> {
  const tables = await readTables(connection, group);
  const names = tables.map(({ name }) => name);
  const open = await connection.query<{ text: string }>(
    statement(
      `SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.conrelid::regclass, k.conname) AS text
        FROM herdsman.conversions c, jsonb_to_recordset(c.kept -> 'keys') AS kept("table" text, name text, valid boolean),
          pg_partition_tree(format('public.%I', kept."table")::regclass) t JOIN pg_constraint k ON k.conrelid = t.relid
        WHERE c.group_name = $1 AND kept."table" = ANY ($2) AND kept.valid AND k.contype = 'f' AND NOT k.convalidated
          AND quote_ident(k.conname) = kept.name ORDER BY 1`,
      group.name,
      names,
    ),
  );
  const owner = tables[0]?.owner ?? '';
  for (const { text } of open) await runTogether(connection, asOwner(owner, [text]));
  await runTogether(connection, [block(demandPhase(group.name, 'owned')), setPhase(group.name, 'settled')]);
  return done;
}

/** Keeps the plain tables in step while the way back is open. */
export async function follow(connection: Connection, context: ConversionContext): Promise<ConversionStep> {
  const tables = await readTables(connection, context.group);
  const changed = await findChange(connection, tables, oldSchema);
  if (changed !== undefined) return changed;
  await connection.query({ text: block(demandFiles(context.group.name)) });
  return catchUp(connection, context, tables, oldSchema);
}

/**
 * Throws away what does not serve, with the notes, in one transaction with the last of the conversion itself: before the switch
 * and after the way back the partitioned tables, after the retention the plain ones.
 */
export async function tidy(
  connection: Connection,
  { group, phase, layout }: Conversion,
): Promise<ConversionStep> {
  const names = layout.tables.map(({ name }) => name);
  const schema = isBeforeSwitch({ phase }) || phase === 'reverted' ? newSchema : oldSchema;
  const owner = (await readTable(connection, applicationSchema, names[0] ?? '')).owner;
  if (phase === 'reverted') await validateKept(connection, group, owner);
  const list = (inSchema: string) => names.map((name) => qualified(inSchema, name)).join(', ');
  await runTogether(
    connection,
    [
      block(demandPhase(group, phase)),
      ...asOwner(owner, [
        ...names.map(
          (name) => `DROP TRIGGER IF EXISTS herdsman_note ON ${qualified(applicationSchema, name)}`,
        ),
        `DROP TABLE IF EXISTS ${list(schema)}`,
      ]),
      ...names.flatMap((name) => [
        `DROP FUNCTION IF EXISTS ${noteFunction(name)}()`,
        `DROP TABLE IF EXISTS ${changesOf(name)}`,
      ]),
      `DELETE FROM herdsman.conversions WHERE group_name = ${quoteLiteral(group)}`,
    ],
    { lockTimeoutMs: tidyLockMs },
  );
  return done;
}

interface KeptKey {
  readonly table: string;
  readonly name: string;
}

async function validateKept(connection: Connection, group: string, owner: string): Promise<void> {
  const keys = await connection.query<KeptKey & Record<string, unknown>>(
    statement(
      `SELECT kept."table", kept.name FROM herdsman.conversions c,
        jsonb_to_recordset(c.kept -> 'keys') AS kept("table" text, name text, valid boolean) WHERE c.group_name = $1 AND kept.valid`,
      group,
    ),
  );
  for (const { table, name } of keys) {
    const target = `${quoteIdentifier(applicationSchema)}.${quoteIdentifier(table)}`;
    await runTogether(connection, asOwner(owner, [`ALTER TABLE ${target} VALIDATE CONSTRAINT ${name}`]));
  }
}
