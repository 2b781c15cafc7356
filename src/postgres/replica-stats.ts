import type { Connection } from './connection.ts';
import { poolerRole } from './roles.ts';
import { statement } from './statement.ts';

/** Roles whose sessions are the operator's own, and count for nothing. */
const internalRoles = ['herdsman', 'postgres', 'replication', 'rewind'];

/** A custom parameter by which a member tells which configuration it runs with. */
export const configParameter = 'herdsman.config';

/** Where a primary is, and what it has room for. */
export interface PrimaryPosition {
  readonly inRecovery: boolean;
  /** Bytes of WAL since the beginning of time that are on disk, and can so be sent; 0 in recovery. */
  readonly position: number;
  /** Its clock, in milliseconds since 1970. */
  readonly clockMs: number;
  readonly maxWalSenders: number;
  readonly maxReplicationSlots: number;
  /** Bytes of WAL that it lets come together between two checkpoints. */
  readonly maxWalBytes: number;
  /** When its data began, by its clock then: initdb writes the second into the system identifier. */
  readonly initializedMs: number;
  /** By name: where those that stream from it have said that they are. */
  readonly standbys: Readonly<Record<string, StandbyPosition>>;
}

/** Where a standby is, in bytes of WAL since the beginning of time. */
export interface StandbyPosition {
  /** What it shows. */
  readonly replayed: number;
  readonly received: number;
}

/** Asks a primary, in one short statement: it is asked every second. */
export async function readPrimaryPosition(connection: Connection): Promise<PrimaryPosition> {
  const [row] = await connection.query<PrimaryPosition>({
    text: `SELECT pg_is_in_recovery() AS "inRecovery",
      CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::float8 END AS position,
      extract(epoch FROM clock_timestamp())::float8 * 1000 AS "clockMs",
      current_setting('max_wal_senders')::int AS "maxWalSenders",
      current_setting('max_replication_slots')::int AS "maxReplicationSlots",
      pg_size_bytes(current_setting('max_wal_size'))::float8 AS "maxWalBytes",
      (SELECT (system_identifier >> 32)::float8 * 1000 FROM pg_control_system()) AS "initializedMs",
      (SELECT coalesce(jsonb_object_agg(application_name, jsonb_build_object(
          'replayed', pg_wal_lsn_diff(replay_lsn, '0/0')::float8, 'received', pg_wal_lsn_diff(flush_lsn, '0/0')::float8)), '{}')
        FROM pg_stat_replication WHERE replay_lsn IS NOT NULL AND flush_lsn IS NOT NULL) AS standbys`,
  });
  if (row === undefined) throw new Error('no row of the primary');
  return row;
}

/** Bytes of all databases of a server. */
export async function readServerBytes(connection: Connection): Promise<number> {
  const [row] = await connection.query<{ bytes: number }>({
    text: 'SELECT sum(pg_database_size(oid))::float8 AS bytes FROM pg_database',
  });
  return row?.bytes ?? 0;
}

/** Bytes of WAL since the beginning of time up to the oldest that a primary still has. */
export async function readOldestPosition(connection: Connection): Promise<number> {
  const [row] = await connection.query<{ oldest: number | null }>({
    text: `SELECT min(('x' || substr(name, 9, 8))::bit(32)::bigint * 4294967296 + ('x' || substr(name, 17, 8))::bit(32)::bigint *
        pg_size_bytes(current_setting('wal_segment_size')))::float8 AS oldest
      FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'`,
  });
  if (row?.oldest === undefined || row.oldest === null) throw new Error('the primary lists no WAL');
  return row.oldest;
}

/** Wait events of a replay that has used all WAL that is there: https://www.postgresql.org/docs/17/monitoring-stats.html */
const waitsForWal = `EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
        AND wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')) AS "waitsForWal"`;

/** How far a standby has come, and whether it comes on. */
export interface StandbyProgress extends StandbyPosition {
  /** When its server started, in milliseconds since 1970 by its own clock. */
  readonly startedMs: number;
  /** Whether replay has used all WAL that is there, and waits for more: not while it is paused, or waits for a query. */
  readonly waitsForWal: boolean;
}

/** Asks a standby. */
export async function readStandbyProgress(connection: Connection): Promise<StandbyProgress> {
  const [row] = await connection.query<StandbyProgress & Record<string, unknown>>({
    text: `SELECT extract(epoch FROM pg_postmaster_start_time())::float8 * 1000 AS "startedMs",
      ${waitsForWal},
      pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::float8 AS replayed,
      pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')::float8 AS received`,
  });
  if (row === undefined) throw new Error('no row of the standby');
  return row;
}

/** What a standby says of itself. */
export interface ReplicaStats extends StandbyPosition {
  readonly inRecovery: boolean;
  /** When the last transaction that it shows was committed, by the primary's clock, in milliseconds since 1970; null before any. */
  readonly committedMs: number | null;
  /** Whether a WAL receiver is at work. */
  readonly streaming: boolean;
  /** Whether replay has used all WAL that is there, and waits for more. */
  readonly waitsForWal: boolean;
  /** Value of `herdsman.config`; null while it has none. */
  readonly config: string | null;
  /** Whether a parameter in its files takes effect only when it restarts. */
  readonly pendingRestart: boolean;
  /** Sessions of clients. */
  readonly connections: number;
  /** Those that run a query now. */
  readonly active: number;
  /** Those that run one, or have a transaction open. */
  readonly busy: number;
  /** Transactions in the application database so far. */
  readonly transactions: number;
  /** Milliseconds that they worked so far. */
  readonly activeMs: number;
}

/** Asks a standby, in one short statement: it is asked every second. */
export async function readReplicaStats(connection: Connection, database: string): Promise<ReplicaStats> {
  const [row] = await connection.query<ReplicaStats>(
    statement(
      `SELECT pg_is_in_recovery() AS "inRecovery",
        coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0)::float8 AS replayed,
        coalesce(pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0'), 0)::float8 AS received,
        extract(epoch FROM pg_last_xact_replay_timestamp())::float8 * 1000 AS "committedMs",
        EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') AS streaming,
        ${waitsForWal},
        current_setting('${configParameter}', true) AS config,
        EXISTS (SELECT FROM pg_settings WHERE pending_restart) AS "pendingRestart",
        a.connections, a.active, a.busy, coalesce(d.transactions, 0) AS transactions, coalesce(d.active_time, 0) AS "activeMs"
      FROM (SELECT count(*)::int AS connections, count(*) FILTER (WHERE state = 'active')::int AS active,
          count(*) FILTER (WHERE state <> 'idle')::int AS busy
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> ALL ($2)) a
      LEFT JOIN (SELECT (xact_commit + xact_rollback)::float8 AS transactions, active_time
        FROM pg_stat_database WHERE datname = $1) d ON true`,
      database,
      internalRoles,
    ),
  );
  if (row === undefined) throw new Error('no row of the standby');
  return row;
}

/** How long a server has been out of rotation, and how long what was begun before may then go on. */
export interface OutOfRotation {
  readonly outMs: number;
  readonly graceMs: number;
}

/** Poolers are told within a second that they shall connect anew, and once more when every node knows where. */
const poolersLeaveMs = 2_500;

/**
 * Ends sessions of clients that would go on reading from a server that has left rotation: those that run nothing; those whose
 * transaction began since, which a pool would hide from a look at idle ones; and, after the grace, those that hold one open and
 * run nothing in it. Queries that were begun before are left to finish, and sessions that have only just begun are about to ask.
 * The operator's own go on, whoever they are: those that apply a migration do it as the application. Poolers have a while to leave
 * by themselves, when no client of theirs is at work: what is ended under PgBouncer is an error for whoever it just serves.
 * Answers how many it ended.
 */
export async function endStaleSessions(
  connection: Connection,
  { outMs, graceMs }: OutOfRotation,
): Promise<number> {
  const [row] = await connection.query<{ ended: number }>(
    statement(
      `SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid))::int AS ended
        FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid LEFT JOIN pg_stat_ssl s ON s.pid = a.pid
        WHERE a.backend_type = 'client backend' AND a.backend_start < now() - interval '500 ms'
          AND (a.state = 'idle' OR a.xact_start > now() - $2 * interval '1 ms'
            OR (starts_with(a.state, 'idle in transaction') AND $2 > $3))
          AND NOT r.rolsuper AND a.usename <> ALL ($1)
          AND a.application_name <> current_setting('application_name')
          AND (s.client_dn IS DISTINCT FROM $4 OR $2 > $5)`,
      internalRoles,
      outMs,
      graceMs,
      `/CN=${poolerRole}`,
      poolersLeaveMs,
    ),
  );
  return row?.ended ?? 0;
}
