import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import {
  addFingerprints,
  type Fingerprint,
  fingerprintOfSource,
  fingerprintQuery,
  type SourceTable,
  unassigned,
} from './dataset.ts';

/** A connection to each shard by its name. */
export type Shards = ReadonlyMap<string, pg.Client>;

/** Where each key of a group lives: key → shard. */
type Route = ReadonlyMap<string, string>;

/** Asks a shard, in one query, for the owner of each key of a group. */
export async function locate(client: pg.Client, group: string, keys: readonly string[]): Promise<Route> {
  const { rows } = await client.query<{ key: string; shard: string }>(
    'SELECT key, place.shard FROM unnest($2::text[]) AS key, LATERAL herdsman.locate($1, key) AS place',
    [group, keys],
  );
  return new Map(rows.map(({ key, shard }) => [key, shard]));
}

/** Which aircraft are registered, and so can be referred to. */
export function registeredPlanes(tables: readonly SourceTable[]): ReadonlySet<string> {
  return new Set(tableOf(tables, 'planes').rows.map((row) => row[0] ?? ''));
}

/** The tail numbers under which flights are stored. */
export function tailNumbers(tables: readonly SourceTable[]): string[] {
  const flights = tableOf(tables, 'flights');
  const column = flights.columns.findIndex(({ name }) => name === 'tailnum');
  return [...new Set(flights.rows.map((row) => row[column] ?? unassigned))];
}

/** Empties the tables and loads all five, each row into the shard that owns it, all shards at once. */
export async function loadDataset(
  tables: readonly SourceTable[],
  shards: Shards,
  progress: (text: string) => void,
): Promise<number> {
  const [any] = shards.values();
  if (any === undefined) throw new Error('there is no shard');
  const planes = registeredPlanes(tables);
  const aircraft = await locate(any, 'aircraft', [...new Set([...tailNumbers(tables), ...planes])]);
  const weather = await locate(any, 'weather', ['EWR', 'JFK', 'LGA']);
  let loaded = 0;
  const count = (rows: number): void => {
    loaded += rows;
    progress(`${number(loaded)} rows`);
  };
  await Promise.all(
    [...shards].map(async ([shard, client]) => {
      await client.query('TRUNCATE sightings, flights, planes, weather, airlines, airports');
      const copy = async (name: SourceTable['name'], route?: Route): Promise<void> => {
        const lines = linesFor(
          tableOf(tables, name),
          planes,
          (key) => route === undefined || route.get(key) === shard,
        );
        const columns = columnsOf(tableOf(tables, name));
        const target = client.query(copyFrom(`COPY ${name} (${columns.join(', ')}) FROM STDIN`));
        await pipeline(Readable.from(batches(lines, count)), target);
      };
      await copy('airlines');
      await copy('airports');
      await copy('planes', aircraft);
      await copy('weather', weather);
      await copy('flights', aircraft);
      await client.query('ANALYZE');
    }),
  );
  return loaded;
}

/** The columns that are loaded: those of the file, and the reference from a flight to its registered aircraft. */
function columnsOf(table: SourceTable): string[] {
  const names = table.columns.map(({ name }) => name);
  return table.name === 'flights' ? [...names, 'plane'] : names;
}

/** The rows that belong to a shard, as COPY's text format wants them. */
function* linesFor(
  table: SourceTable,
  planes: ReadonlySet<string>,
  belongs: (key: string) => boolean,
): Generator<string> {
  const key = table.columns.findIndex(
    ({ name }) => name === (table.name === 'weather' ? 'origin' : 'tailnum'),
  );
  for (const row of table.rows) {
    const value = row[key] ?? unassigned;
    if (!belongs(value)) continue;
    const stored = row.map((field, index) =>
      table.name === 'flights' && index === key
        ? value
        : field === null
          ? '\\N'
          : field.replaceAll('\\', '\\\\'),
    );
    if (table.name === 'flights') stored.push(planes.has(value) ? value : '\\N');
    yield `${stored.join('\t')}\n`;
  }
}

/** A chunk per line would cost more than the line. */
function* batches(lines: Iterable<string>, loaded: (count: number) => void): Generator<string> {
  let batch: string[] = [];
  for (const line of lines) {
    batch.push(line);
    if (batch.length < 1000) continue;
    yield batch.join('');
    loaded(batch.length);
    batch = [];
  }
  if (batch.length > 0) yield batch.join('');
  loaded(batch.length);
}

/** One table compared with its source. */
export interface Comparison {
  readonly table: SourceTable['name'];
  /** Rows per shard. */
  readonly rows: ReadonlyMap<string, number>;
  readonly source: Fingerprint;
  /** Whether counts and checksums agree: the shards' sum, or for a reference table each shard's copy. */
  readonly same: boolean;
}

/** Reads every table back from every shard, and compares it with the files. */
export async function compare(tables: readonly SourceTable[], shards: Shards): Promise<Comparison[]> {
  const comparisons: Comparison[] = [];
  for (const table of tables) {
    const source = fingerprintOfSource(table);
    const parts = await Promise.all(
      [...shards].map(async ([shard, client]): Promise<[string, Fingerprint]> => {
        const { rows } = await client.query<{ rows: number; sum: string }>(fingerprintQuery(table));
        return [shard, { rows: rows[0]?.rows ?? 0, sum: BigInt(rows[0]?.sum ?? 0) }];
      }),
    );
    const found = parts.map(([, part]) => part);
    const isReference = table.name === 'airlines' || table.name === 'airports';
    const toCompare = isReference ? found : [addFingerprints(found)];
    comparisons.push({
      table: table.name,
      rows: new Map(parts.map(([shard, part]) => [shard, part.rows])),
      source,
      same: toCompare.every(({ rows, sum }) => rows === source.rows && sum === source.sum),
    });
  }
  return comparisons;
}

/** A number with its thousands apart: `336,776`. */
export function number(value: number): string {
  return value.toLocaleString('en-US');
}

function tableOf(tables: readonly SourceTable[], name: SourceTable['name']): SourceTable {
  const found = tables.find((table) => table.name === name);
  if (found === undefined) throw new Error(`the data set has no ${name}`);
  return found;
}
