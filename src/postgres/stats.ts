import type { Connection } from './connection.ts';

/** What a primary says of itself and its standbys. */
export interface ShardStats {
  readonly inRecovery: boolean;
  readonly timeline: number;
  /** Place in the WAL, as PostgreSQL writes it: `0/3000148`. */
  readonly walLsn: string;
  readonly databaseBytes: number;
  readonly standbys: readonly StandbyStats[];
  readonly slots: readonly SlotStats[];
}

/** A standby, as its primary sees it. */
export interface StandbyStats {
  readonly name: string;
  readonly state: string;
  /** async, potential, sync or quorum. */
  readonly syncState: string;
  /** Bytes of WAL that it has not replayed. */
  readonly lagBytes: number;
  /** Seconds since the newest WAL that it has replayed; 0 while it has all. */
  readonly lagSeconds: number;
}

/** A replication slot. */
export interface SlotStats {
  readonly name: string;
  readonly active: boolean;
  /** Bytes of WAL that it keeps. */
  readonly retainedBytes: number;
  /** reserved, extended, unreserved or lost. */
  readonly walStatus: string | null;
}

const statsQuery = `
SELECT pg_is_in_recovery() AS "inRecovery",
  CASE WHEN pg_is_in_recovery() THEN c.timeline_id
    ELSE ('x' || left(pg_walfile_name(l.lsn), 8))::bit(32)::int END AS timeline,
  l.lsn::text AS "walLsn",
  pg_database_size(current_database())::float8 AS "databaseBytes",
  coalesce((SELECT jsonb_agg(jsonb_build_object(
    'name', r.application_name, 'state', r.state, 'syncState', r.sync_state,
    'lagBytes', greatest(0, coalesce(pg_wal_lsn_diff(l.lsn, r.replay_lsn), 0)),
    'lagSeconds', coalesce(extract(epoch FROM r.replay_lag), 0)) ORDER BY r.application_name)
    FROM pg_stat_replication r WHERE r.application_name <> 'pg_basebackup'), '[]') AS standbys,
  coalesce((SELECT jsonb_agg(jsonb_build_object(
    'name', s.slot_name, 'active', s.active, 'walStatus', s.wal_status,
    'retainedBytes', greatest(0, coalesce(pg_wal_lsn_diff(l.lsn, s.restart_lsn), 0))) ORDER BY s.slot_name)
    FROM pg_replication_slots s), '[]') AS slots
FROM pg_control_checkpoint() c,
  (SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_lsn() END AS lsn) l`;

/** Reads them. The timeline of a primary is that of the WAL it writes; the control file has it only after a checkpoint. */
export async function readShardStats(connection: Connection): Promise<ShardStats> {
  const [row] = await connection.query<ShardStats>({ text: statsQuery });
  if (row === undefined) throw new Error('no row of statistics');
  return row;
}
