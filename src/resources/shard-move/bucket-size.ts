import type { Connection } from '../../postgres/connection.ts';

const sizeQuery = `
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 AS bytes
  FROM herdsman.tables t JOIN pg_class c ON c.relnamespace = 'public'::regnamespace
    AND c.relname IN (SELECT t.table_name || '_b' || lpad(id::text, 4, '0') FROM unnest($2::int[]) id)
  WHERE t.group_name = $1`;

/** Size of all leaves of buckets, with indexes and TOAST. */
export async function measureBuckets(
  connection: Connection,
  group: string,
  buckets: readonly number[],
): Promise<number> {
  const [row] = await connection.query<{ bytes: number }>({
    text: sizeQuery,
    values: [group, buckets],
  });
  return row?.bytes ?? 0;
}
