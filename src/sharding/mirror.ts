import type { Bucket, BucketGroup, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import { type Statement, statement } from '../postgres/statement.ts';
import type { Layout } from './layout.ts';
import { type DistributionRow, isMoving, type MirrorRow, type ShardCatalog } from './shard-catalog.ts';

/** Where clients find a shard. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly dbname: string;
}

/** The row of `herdsman.shard_map` that describes a bucket. */
export function mirrorRow(group: BucketGroup, bucket: Bucket, endpoint: Endpoint): MirrorRow {
  return {
    group_name: group.name,
    bucket: bucket.id,
    strategy: group.strategy,
    shard: bucket.shard,
    host: endpoint.host,
    port: endpoint.port,
    dbname: endpoint.dbname,
    epoch: bucket.epoch,
    modulus: bucket.hash?.modulus ?? null,
    remainder: bucket.hash?.remainder ?? null,
    range_from: bucket.range?.from ?? null,
    range_to: bucket.range?.to ?? null,
    region: bucket.region ?? null,
    list_values: bucket.values ?? null,
    is_default: bucket.isDefault ?? false,
  };
}

/** Statements that bring `herdsman.shard_map` and `herdsman.tables` up to the map and the layout; a row's epoch never falls. */
export function planMirror(
  map: ShardMapSpec,
  layout: Layout,
  catalog: ShardCatalog,
  endpoints: Readonly<Record<string, Endpoint>>,
): Statement[] {
  const known = new Map(catalog.mirror.map((row) => [`${row.group_name}\0${row.bucket}`, row]));
  const rows = map.groups.flatMap((group) =>
    group.buckets.flatMap((bucket): MirrorRow[] => {
      const endpoint = endpoints[bucket.shard];
      // A bucket on the move has its row written by the steps of the move.
      if (endpoint === undefined || bucket.pending !== undefined) return [];
      if (isMoving(catalog, group.name, bucket.id)) return [];
      const row = mirrorRow(group, bucket, endpoint);
      const current = known.get(`${group.name}\0${bucket.id}`);
      return current !== undefined && (current.epoch > row.epoch || same(current, row)) ? [] : [row];
    }),
  );
  const tables = distribution(layout).filter((row) => {
    const current = catalog.distribution.find((candidate) => candidate.table_name === row.table_name);
    return current === undefined || !same(current, row);
  });
  const statements: Statement[] = [];
  const gone = catalog.mirror.filter(({ group_name, bucket, epoch }) => {
    const group = map.groups.find(({ name }) => name === group_name);
    if (group === undefined || isMoving(catalog, group_name, bucket)) return false;
    return epoch <= map.epoch && group.buckets.every(({ id }) => id !== bucket);
  });
  if (gone.length > 0) statements.push(deleteMirror(gone));
  if (rows.length > 0) statements.push(upsertMirror(rows));
  if (tables.length > 0) {
    statements.push(
      statement(
        `INSERT INTO herdsman.tables SELECT * FROM jsonb_populate_recordset(NULL::herdsman.tables, $1::jsonb)
          ON CONFLICT (table_name) DO UPDATE SET group_name = excluded.group_name, strategy = excluded.strategy,
          key_column = excluded.key_column, hash_column = excluded.hash_column`,
        JSON.stringify(tables),
      ),
    );
  }
  return statements;
}

/** Takes rows out whose buckets others have taken the place of, unless they are newer than those that were read. */
function deleteMirror(rows: readonly MirrorRow[]): Statement {
  return statement(
    `DELETE FROM herdsman.shard_map m USING jsonb_populate_recordset(NULL::herdsman.shard_map, $1::jsonb) gone
      WHERE m.group_name = gone.group_name AND m.bucket = gone.bucket AND m.epoch <= gone.epoch`,
    JSON.stringify(rows),
  );
}

/** Writes rows of the mirror; a row's epoch never falls. */
export function upsertMirror(rows: readonly MirrorRow[]): Statement {
  const columns = Object.keys(rows[0] ?? {}).filter(
    (column) => column !== 'group_name' && column !== 'bucket',
  );
  return statement(
    `INSERT INTO herdsman.shard_map AS known SELECT * FROM jsonb_populate_recordset(NULL::herdsman.shard_map, $1::jsonb)
      ON CONFLICT (group_name, bucket) DO UPDATE SET ${columns.map((name) => `${name} = excluded.${name}`).join(', ')}
      WHERE known.epoch <= excluded.epoch`,
    JSON.stringify(rows),
  );
}

function distribution(layout: Layout): DistributionRow[] {
  const distributed = layout.groups.flatMap((group) =>
    group.tables.map((table): DistributionRow => {
      const divided = group.regions.some((region) => (region.buckets ?? 1) > 1);
      return {
        table_name: table.name,
        group_name: group.name,
        strategy: group.strategy,
        key_column: table.key,
        hash_column: divided ? (table.hashKey ?? null) : null,
      };
    }),
  );
  const whole = layout.references.map((name): DistributionRow => {
    return { table_name: name, group_name: null, strategy: 'reference', key_column: null, hash_column: null };
  });
  return [...distributed, ...whole];
}

function same<T extends object>(a: T, b: T): boolean {
  return (Object.keys(b) as (keyof T)[]).every((key) => JSON.stringify(a[key]) === JSON.stringify(b[key]));
}
