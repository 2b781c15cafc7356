import type { Connection } from '../connection.ts';

/** WAL in bytes that the subscriber of a slot has not confirmed; `undefined` when there is no such slot. */
export async function readLag(connection: Connection, slot: string): Promise<number | undefined> {
  const [row] = await connection.query<{ bytes: number }>({
    text: `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)::float8 AS bytes FROM pg_replication_slots s
      WHERE s.database = current_database() AND s.slot_name = $1 AND s.confirmed_flush_lsn IS NOT NULL`,
    values: [slot],
  });
  return row?.bytes;
}
