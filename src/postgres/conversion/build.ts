import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier } from '../identifier.ts';
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
import { newSchema } from './schema.ts';
import { readTables } from './stage.ts';
import { sync } from './sync.ts';
import { changesOf, findChange, missingIndexes, readTable, type TableFacts } from './table.ts';

/**
 * Step 4: the other indexes and unique constraints. The rows come first to what they were at one moment, since a mixture of
 * moments may have a value twice; after it they only go from one such moment to the next.
 */
export async function build(connection: Connection, { group }: ConversionContext): Promise<ConversionStep> {
  const tables = await readTables(connection, group);
  const changed = await findChange(connection, tables, newSchema);
  if (changed !== undefined) return changed;
  await sync(connection, group, tables, newSchema);
  for (const facts of tables) {
    const made = await readTable(connection, newSchema, facts.name);
    for (const text of missingIndexes(facts, made, newSchema)) {
      await runTogether(connection, [
        block(demandPhase(group.name, 'copied')),
        ...asOwner(facts.owner, [text]),
      ]);
    }
    await connection.query({ text: `ANALYZE ${qualified(newSchema, facts.name)}` });
  }
  await runTogether(connection, [block(demandPhase(group.name, 'copied')), setPhase(group.name, 'built')]);
  return done;
}

/**
 * Step 5: both have the same rows. One snapshot shows both, and the notes of what is still to be done; everything else has to
 * be equal, while writers go on.
 */
export async function verify(connection: Connection, { group }: ConversionContext): Promise<ConversionStep> {
  const tables = await readTables(connection, group);
  const changed = await findChange(connection, tables, newSchema);
  if (changed !== undefined) return changed;
  await sync(connection, group, tables, newSchema);
  return connection.transaction(async () => {
    await connection.query({ text: block(demandPhase(group.name, 'built')) });
    for (const facts of tables) {
      await connection.query({
        text: `SET LOCAL ROLE ${quoteIdentifier(facts.owner)}; SET LOCAL search_path = public`,
      });
      const [ours, theirs] = await connection.query<Digest>({
        text: `${digest(applicationSchema, facts)} UNION ALL ${digest(newSchema, facts)}`,
      });
      await connection.query({ text: 'SET LOCAL search_path = pg_catalog, pg_temp; RESET ROLE' });
      if (ours?.rows === theirs?.rows && ours?.hash === theirs?.hash) continue;
      const message = `table "${facts.name}" has ${ours?.rows} rows and its copy ${theirs?.rows}, or other ones`;
      return { kind: 'changed', reason: 'VerificationFailed', message };
    }
    await connection.query({ text: setPhase(group.name, 'verified', ', verified_at = now()') });
    return done;
  }, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
}

interface Digest {
  readonly rows: string;
  readonly hash: string;
}

/** Number and hash of the rows without a note. */
function digest(schema: string, { name, primaryKey }: TableFacts): string {
  const isNoted = primaryKey.map((column) => `k.${column} = herdsman_row.${column}`).join(' AND ');
  return (
    'SELECT count(*)::text AS rows, coalesce(sum(hashtextextended(herdsman_row::text, 0)), 0)::text AS hash ' +
    `FROM ${qualified(schema, name)} herdsman_row WHERE NOT EXISTS (SELECT FROM ${changesOf(name)} k WHERE ${isNoted})`
  );
}
