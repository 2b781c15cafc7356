import type { Connection } from './connection.ts';
import { statement } from './statement.ts';

/** A physical slot, by which a server keeps WAL for one that follows it. */
export interface MemberSlot {
  readonly name: string;
  readonly active: boolean;
  /** Milliseconds since it was used last; 0 while it is; null if nobody has since its server became a primary. */
  readonly idleMs: number | null;
}

/** Patroni's name for the slot of a member. */
export function memberSlotName(member: string): string {
  return member.replaceAll('-', '_');
}

/**
 * Those that a server has for good. One that is loaded when a server starts, or starts again after a crash, counts as used then
 * (`inactive_since`); the WAL writer of a primary starts after that.
 */
export async function readMemberSlots(connection: Connection): Promise<readonly MemberSlot[]> {
  return connection.query<MemberSlot>({
    text: `SELECT slot_name AS name, active,
        (CASE WHEN active THEN 0 WHEN inactive_since > (SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'walwriter')
          THEN extract(epoch FROM clock_timestamp() - inactive_since) * 1000 END)::float8 AS "idleMs"
      FROM pg_replication_slots
      WHERE slot_type = 'physical' AND NOT temporary ORDER BY slot_name`,
  });
}

/**
 * Drops that of a member which is about to be copied anew: PostgreSQL 17 lets it stream by one that was invalidated, which keeps
 * nothing for it any more. Patroni makes another. Throws while it is in use.
 */
export async function renewMemberSlot(connection: Connection, member: string): Promise<void> {
  await connection.query(
    statement(
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
        WHERE slot_name = $1 AND slot_type = 'physical'`,
      memberSlotName(member),
    ),
  );
}

/** Drops one unless somebody uses it. Answers whether it was there. */
export async function dropMemberSlot(connection: Connection, name: string): Promise<boolean> {
  const rows = await connection.query(
    statement(
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
        WHERE slot_name = $1 AND slot_type = 'physical' AND NOT active`,
      name,
    ),
  );
  return rows.length > 0;
}
