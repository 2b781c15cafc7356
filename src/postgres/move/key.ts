import type { BucketBound } from '../../api/v1alpha1/shard-map.ts';
import type { Group } from '../../sharding/layout.ts';
import { applicationSchema, leafName } from '../../sharding/names.ts';
import { askAsOwner } from '../ask-as-owner.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier } from '../identifier.ts';
import { keyType } from '../key-type.ts';
import { statement } from '../statement.ts';

/** Rows of a sample that tells the median well enough. */
const sampleRows = 100_000;

/**
 * The key that has half of the rows of a range below it, by the largest of its leaves; `undefined` when all rows have one key,
 * or there are none. Both parts get rows.
 */
export async function medianKey(
  connection: Connection,
  group: Group,
  { id }: BucketBound,
): Promise<string | undefined> {
  const sizes = await connection.query<{ place: number; pages: number; rows: number }>(
    statement(
      `SELECT w.place::int AS place, (pg_relation_size(c.oid) / 8192)::int AS pages, greatest(c.reltuples, 0)::float8 AS rows
        FROM unnest($1::text[]) WITH ORDINALITY w(name, place)
        JOIN pg_class c ON c.relname = w.name AND c.relnamespace = 'public'::regnamespace ORDER BY pages DESC LIMIT 1`,
      group.tables.map(({ name }) => leafName(name, id)),
    ),
  );
  const table = group.tables[(sizes[0]?.place ?? 1) - 1];
  if (table === undefined) return undefined;
  const { owner } = await keyType(connection, table.name, table.key);
  const leaf = qualified(applicationSchema, leafName(table.name, id));
  const key = quoteIdentifier(table.key);
  const rows = sizes[0]?.rows ?? 0;
  const sample =
    rows > 2 * sampleRows ? ` TABLESAMPLE SYSTEM (${Math.max(0.001, (100 * sampleRows) / rows)})` : '';
  const [row] = await askAsOwner<{ key: string | null }>(connection, owner, {
    text: `WITH middle AS (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ${key}) AS key FROM ${leaf}${sample})
      SELECT coalesce(
        (SELECT m.key FROM middle m WHERE m.key > (SELECT l.${key} FROM ${leaf} l ORDER BY l.${key} LIMIT 1)),
        (SELECT l.${key} FROM ${leaf} l, middle m WHERE l.${key} > m.key ORDER BY l.${key} LIMIT 1))::text AS key`,
  });
  return row?.key ?? undefined;
}

/** A value as PostgreSQL writes it, when it lies inside of a range; an error when it is none of the key's type. */
export async function keyInside(
  connection: Connection,
  group: Group,
  { from, to }: NonNullable<BucketBound['range']>,
  at: string,
): Promise<string | undefined> {
  const [table] = group.tables;
  const { type, collation, owner } = await keyType(connection, table?.name ?? '', table?.key ?? '');
  const [row] = await askAsOwner<{ key: string; inside: boolean }>(
    connection,
    owner,
    statement(
      `SELECT v.key::text AS key, ($2 IS NULL OR v.key > $2::${type}${collation})
          AND ($3 IS NULL OR v.key < $3::${type}${collation}) AS inside
        FROM (SELECT $1::${type} AS key) v`,
      at,
      from ?? null,
      to ?? null,
    ),
  );
  return row?.inside === true ? row.key : undefined;
}

/** The bucket that takes a key, as the mirror of any shard says. */
export async function bucketOfKey(
  connection: Connection,
  { name, tables: [table] }: Group,
  key: string,
): Promise<{ readonly bucket: number } | undefined> {
  const { owner } = await keyType(connection, table?.name ?? '', table?.key ?? '');
  const [row] = await askAsOwner<{ bucket: number }>(
    connection,
    owner,
    statement('SELECT bucket FROM herdsman.locate($1, $2)', name, key),
  );
  return row;
}

/** Whether a bucket's leaves have a row of a tenant. */
export async function hasTenant(
  connection: Connection,
  group: Group,
  { id }: BucketBound,
  tenant: string,
): Promise<boolean> {
  for (const { name, key } of group.tables) {
    const { type, owner } = await keyType(connection, name, key);
    const leaf = qualified(applicationSchema, leafName(name, id));
    const [row] = await askAsOwner<{ found: boolean }>(
      connection,
      owner,
      statement(
        `SELECT EXISTS (SELECT FROM ${leaf} WHERE ${quoteIdentifier(key)} = $1::${type}) AS found`,
        tenant,
      ),
    );
    if (row?.found === true) return true;
  }
  return false;
}
