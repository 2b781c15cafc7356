import type { ShardFacts, SourceFacts } from '../../sharding/import/model.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier } from '../identifier.ts';
import type { ImportContext } from './context.ts';
import { commonColumns } from './look.ts';

/** The first that writes the shortest text from which a float8 can be read back as it was. */
const exactFloats = 12_00_00;

/** Settings under which every supported PostgreSQL writes a value in the same way. */
function sameText(version: number): string {
  const settings = {
    bytea_output: 'hex',
    datestyle: 'ISO, MDY',
    intervalstyle: 'postgres',
    timezone: 'UTC',
    extra_float_digits: version < exactFloats ? '0' : '1',
  };
  return Object.entries(settings)
    .map(([name, value]) => `SET LOCAL ${name} = '${value}'`)
    .join('; ');
}

interface Digest {
  readonly rows: string;
  readonly hash: string;
}

/** Compares the tables while nobody writes to either side; answers what differs, if anything does. */
export async function compareTables(
  context: ImportContext,
  tables: readonly string[],
  source: SourceFacts,
  shard: ShardFacts,
): Promise<string | undefined> {
  if (context.source.verify === 'none') return undefined;
  const settings = sameText(source.version);
  for (const name of tables) {
    const from = source.tables.find((table) => table.name === name);
    const to = shard.tables.find((table) => table.name === name);
    if (from === undefined || to === undefined) return `table "${name}" is gone`;
    const columns = context.source.verify === 'full' ? commonColumns(from, to) : [];
    const ask = (connection: Connection) => digest(connection, settings, name, columns);
    const [theirs, ours] = await Promise.all([context.useSource(ask, true), context.useShard(ask, true)]);
    if (theirs.rows !== ours.rows)
      return `table "${name}" has ${theirs.rows} rows on the server and ${ours.rows} on the cluster`;
    if (theirs.hash !== ours.hash) return `table "${name}" has other rows on the server than on the cluster`;
  }
  return undefined;
}

async function digest(
  connection: Connection,
  settings: string,
  name: string,
  columns: readonly string[],
): Promise<Digest> {
  const row = `ROW(${columns.map((column) => `t.${quoteIdentifier(column)}`).join(', ')})::text`;
  // hashtextextended is younger than PostgreSQL 10, and differs between machines.
  const hash = `coalesce(sum(('x' || substr(md5(${row}), 1, 16))::bit(64)::bigint), 0)::text`;
  return connection.transaction(async () => {
    await connection.query({ text: settings });
    const [found] = await connection.query<Digest>({
      text: `SELECT count(*)::text AS rows, ${columns.length === 0 ? "''" : hash} AS hash
        FROM ${qualified(applicationSchema, name)} t`,
    });
    return found ?? { rows: 'no', hash: '' };
  }, 'BEGIN READ ONLY');
}
