import type { Conversion, ConvertingTable } from '../../sharding/conversion/model.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import {
  asOwner,
  block,
  type ConversionContext,
  type ConversionStep,
  demandPhase,
  done,
  raise,
  setPhase,
} from './context.ts';
import { newSchema } from './schema.ts';
import { readTables } from './stage.ts';
import { findChange, readTable } from './table.ts';

/** Blocks of one transaction: 32 MiB. */
const chunkBlocks = 4096;

/**
 * Step 3: copies the next blocks, each in a transaction with the note of how far it is, until the time is up. A row that
 * changes meanwhile may come as it was, or twice, or not at all: its key is noted, and `sync` puts it right.
 */
export async function copy(
  connection: Connection,
  { group }: ConversionContext,
  conversion: Conversion,
  isTimeUp: () => boolean,
): Promise<ConversionStep> {
  const changed = await findChange(connection, await readTables(connection, group), newSchema);
  if (changed !== undefined) return changed;
  for (const [index, table] of conversion.tables.entries()) {
    const facts = await readTable(connection, applicationSchema, table.name);
    const columns = facts.columns.join(', ');
    for (let next = table.next; next < table.blocks; next += chunkBlocks) {
      if (isTimeUp()) return { kind: 'waiting', reason: 'Copying', message: `copying "${table.name}"` };
      const until = Math.min(next + chunkBlocks, table.blocks);
      const source = qualified(applicationSchema, table.name);
      await runTogether(connection, [
        block(demandPlace(group.name, index, next)),
        ...asOwner(facts.owner, [
          `INSERT INTO ${qualified(newSchema, table.name)} (${columns}) OVERRIDING SYSTEM VALUE SELECT ${columns} FROM ${source}
            WHERE ctid >= '(${next},0)' AND ctid < '(${until},0)' ON CONFLICT DO NOTHING`,
        ]),
        // Only now: the lock that reading took keeps it from being rewritten until the commit.
        block(demandFile(table)),
        `UPDATE herdsman.conversions SET tables = jsonb_set(tables, '{${index},next}', '${until}') WHERE group_name = ${quoteLiteral(group.name)}`,
      ]);
    }
  }
  await runTogether(connection, [block(demandPhase(group.name, 'copying')), setPhase(group.name, 'copied')]);
  return done;
}

function demandPlace(group: string, index: number, next: number): string {
  const place = `(c.tables #>> '{${index},next}')::bigint = ${next}`;
  return `${demandPhase(group, 'copying')} IF NOT EXISTS (SELECT FROM herdsman.conversions c WHERE c.group_name = ${quoteLiteral(group)} AND ${place})
    THEN ${raise('waiting', 'Overtaken', 'somebody else has copied these blocks')} END IF;`;
}

/** PL/pgSQL that raises if the table has been truncated or rewritten since changes began to be noted. */
export function demandFile({ name, filenode }: ConvertingTable): string {
  const found = `pg_relation_filenode(${quoteLiteral(qualified(applicationSchema, name))}::regclass)`;
  return `IF ${found} IS DISTINCT FROM ${filenode}::oid THEN ${raise('changed', 'Rewritten', `table "${name}" was truncated or rewritten`)} END IF;`;
}
