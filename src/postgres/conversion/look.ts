import type { ShardTables } from '../../sharding/conversion/plan.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteLiteral } from '../identifier.ts';
import { statement } from '../statement.ts';
import { readConversions } from './context.ts';

/** Reads what a shard has of a group, and of the conversion by that name. */
export async function lookAtTables(
  connection: Connection,
  shard: string,
  group: string,
  names: readonly string[],
): Promise<ShardTables> {
  return connection.transaction(async () => {
    const found = await connection.query<{ name: string; partitioned: boolean }>(
      statement(
        `SELECT c.relname AS name, c.relkind = 'p' AS partitioned FROM pg_class c
          WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2) AND c.relkind IN ('r', 'p')`,
        applicationSchema,
        names,
      ),
    );
    const parts = found.map(
      ({ name }) =>
        `SELECT ${quoteLiteral(name)} AS name WHERE EXISTS (SELECT FROM ${qualified(applicationSchema, name)})`,
    );
    const filled =
      parts.length === 0 ? [] : await connection.query<{ name: string }>({ text: parts.join(' UNION ALL ') });
    const [own] = await connection.query<{ marked: boolean }>(
      statement(
        `SELECT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = to_regnamespace('own') AND c.relkind = 'r'
          AND c.relname ~ '_b[0-9]{4}$' AND left(c.relname, -6) = $1) AS marked`,
        group,
      ),
    );
    const conversions = await readConversions(connection);
    return {
      name: shard,
      plain: found.filter(({ partitioned }) => !partitioned).map(({ name }) => name),
      partitioned: found.filter(({ partitioned }) => partitioned).map(({ name }) => name),
      withRows: filled.map(({ name }) => name),
      hasMarkers: own?.marked === true,
      conversion: conversions.find((conversion) => conversion.group === group),
    };
  }, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
}
