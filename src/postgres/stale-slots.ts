import type { Connection } from './connection.ts';
import { statement } from './statement.ts';

/**
 * SQL: whether a slot `s` is one that a demoted server has of its own time as the primary: no standby can make a failover slot but
 * by synchronizing the primary's, which is not done while there is another of its name. It keeps WAL, and nobody comes for it.
 */
export const isStale =
  "(pg_is_in_recovery() AND s.slot_type = 'logical' AND s.failover AND NOT s.synced AND NOT s.active)";

/** Their names. */
export async function readStaleSlots(connection: Connection): Promise<readonly string[]> {
  const rows = await connection.query<{ name: string }>({
    text: `SELECT s.slot_name::text AS name FROM pg_replication_slots s WHERE ${isStale} ORDER BY 1`,
  });
  return rows.map(({ name }) => name);
}

/** Drops one if it still is stale. Answers whether it was. */
export async function dropStaleSlot(connection: Connection, name: string): Promise<boolean> {
  const rows = await connection.query(
    statement(
      `SELECT pg_drop_replication_slot(s.slot_name) FROM pg_replication_slots s WHERE s.slot_name = $1 AND ${isStale}`,
      name,
    ),
  );
  return rows.length > 0;
}
