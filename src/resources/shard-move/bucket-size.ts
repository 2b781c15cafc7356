import type { Connection } from '../../postgres/connection.ts';

const sizeQuery = `
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 AS bytes
  FROM herdsman.tables t JOIN pg_class c ON c.relnamespace = 'public'::regnamespace
    AND c.relname = t.table_name || '_b' || lpad($2::text, 4, '0')
  WHERE t.group_name = $1`;

/** Size of all leaves of a bucket, with indexes and TOAST. */
export async function measureBucket(connection: Connection, group: string, bucket: number): Promise<number> {
  const [row] = await connection.query<{ bytes: number }>({
    text: sizeQuery,
    values: [group, String(bucket)],
  });
  return row?.bytes ?? 0;
}
