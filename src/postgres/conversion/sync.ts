import type { Group } from '../../sharding/layout.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteLiteral } from '../identifier.ts';
import { asOwner } from './context.ts';
import { changesOf, type TableFacts } from './table.ts';

/** Up to so many keys each row is found by the primary key; more are joined as a whole. */
const singleKeys = 20_000;

/** Settings for few keys: the notes may be spread over many blocks, so that the planner expects more than there are. */
export const singly = ['SET LOCAL enable_hashjoin = off', 'SET LOCAL enable_mergejoin = off'];

/**
 * Statements that give the rows with noted keys in `to` the state that they have in the table that serves, and forget the
 * notes. Under one snapshot (or a lock that keeps writers out) `to` then is what the table was at that moment: what
 * has no note there has not changed since it was copied.
 */
export function syncStatements(tables: readonly TableFacts[], to: string): string[] {
  return tables.flatMap((facts) => {
    const { name, primaryKey } = facts;
    const columns = facts.columns.join(', ');
    const keys = `(SELECT DISTINCT ${primaryKey.join(', ')} FROM ${changesOf(name)}) k`;
    const matches = (row: string) =>
      primaryKey.map((column) => `${row}.${column} = k.${column}`).join(' AND ');
    const target = qualified(to, name);
    return [
      `DELETE FROM ${target} t USING ${keys} WHERE ${matches('t')}`,
      `INSERT INTO ${target} (${columns}) OVERRIDING SYSTEM VALUE SELECT ${facts.columns.map((column) => `s.${column}`).join(', ')}
        FROM ${qualified(applicationSchema, name)} s JOIN ${keys} ON ${matches('s')}`,
      `DELETE FROM ${changesOf(name)}`,
    ];
  });
}

/** Brings `to` up to one snapshot of the tables that serve, and answers how many notes there were. */
export async function sync(
  connection: Connection,
  group: Group,
  tables: readonly TableFacts[],
  to: string,
): Promise<number> {
  const owner = tables[0]?.owner ?? '';
  return connection.transaction(async () => {
    await connection.query({ text: 'SET LOCAL lock_timeout = 2000' });
    // The only one at it: what two wrote at once would be refused as a conflict of serialization.
    await connection.query({
      text: `SELECT FROM herdsman.conversions c WHERE c.group_name = ${quoteLiteral(group.name)} FOR UPDATE`,
    });
    const counts = tables.map(({ name }) => `(SELECT count(*)::int FROM ${changesOf(name)})`);
    const [found] = await connection.query<{ notes: number }>({
      text: `SELECT ${counts.join(' + ')} AS notes`,
    });
    const notes = found?.notes ?? 0;
    if (notes === 0) return 0;
    await connection.query({
      text: [...(notes <= singleKeys ? singly : []), ...asOwner(owner, syncStatements(tables, to))].join(
        ';\n',
      ),
    });
    return notes;
  }, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
}
