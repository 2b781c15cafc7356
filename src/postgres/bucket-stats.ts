import type { Connection } from './connection.ts';
import { usedBytes } from './used-bytes.ts';

/** What PostgreSQL has counted for one bucket, over the leaves of all tables of its group. */
export interface BucketStats {
  readonly group: string;
  readonly id: number;
  /** Rows read by scans since the statistics began. */
  readonly reads: number;
  /** Rows inserted, updated and deleted since then. */
  readonly writes: number;
  /** Blocks that were not in shared buffers since then. */
  readonly blocks: number;
  /** Size with indexes and TOAST. */
  readonly bytes: number;
  /** Estimate of live rows. */
  readonly rows: number;
}

/** Load of a primary, by bucket and as a whole. */
export interface ShardLoadStats {
  readonly inRecovery: boolean;
  /** Changes when the counters start anew: with the server, or by pg_stat_reset. */
  readonly incarnation: string;
  readonly buckets: readonly BucketStats[];
  /** Sessions of clients in this database now, without the operator's. */
  readonly connections: number;
  readonly maxConnections: number;
  /** Transactions, committed or rolled back, since the statistics began. */
  readonly transactions: number;
  /** Milliseconds that sessions spent executing since then; with what they waited for locks, disks and standbys. */
  readonly activeMs: number;
  /** Bytes of all buckets' leaves and of everything else in the database. */
  readonly databaseBytes: number;
  /**
   * Of them, what moves leave behind and have not finished, which goes by itself; null while one of these tables is locked, as for
   * the build of its key.
   */
  readonly leftBytes: number | null;
  /** What the server has on its volume, WAL and other databases, too. */
  readonly usedBytes: number;
}

/**
 * Attached leaves only: one that is being copied, and one that was moved away, belong to nobody's load. The key of a copy is built
 * under a lock that a look at its size would wait for.
 */
const loadQuery = `
WITH named AS MATERIALIZED (
  SELECT c.oid, t.group_name, right(c.relname, 4)::int AS bucket,
    coalesce(pg_partition_root(c.oid) = to_regclass(format('public.%I', t.table_name)), false)
      AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = 'herdsman_refuse') AS owned
    FROM pg_class c JOIN herdsman.tables t ON t.table_name = left(c.relname, -6)
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
      AND c.relname ~ '_b[0-9]{4}$' AND t.group_name IS NOT NULL
), leaves AS (
  SELECT n.oid, n.group_name, n.bucket FROM named n WHERE n.owned
), remains AS MATERIALIZED (
  SELECT r.oid, r.oid IN (SELECT k.relation FROM pg_locks k
      WHERE k.locktype = 'relation' AND k.mode = 'AccessExclusiveLock') AS locked
    FROM (SELECT n.oid FROM named n WHERE NOT n.owned
      UNION SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        AND NOT c.relispartition AND c.relname ~ '^hm_[0-9a-f]{8}_old_') r
), buckets AS (
  SELECT l.group_name, l.bucket,
    sum(s.seq_tup_read + coalesce(s.idx_tup_fetch, 0))::float8 AS reads,
    sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del)::float8 AS writes,
    sum(coalesce(b.heap_blks_read, 0) + coalesce(b.idx_blks_read, 0) + coalesce(b.toast_blks_read, 0)
      + coalesce(b.tidx_blks_read, 0))::float8 AS blocks,
    sum(coalesce(pg_total_relation_size(l.oid), 0))::float8 AS bytes,
    sum(s.n_live_tup)::float8 AS rows
    FROM leaves l JOIN pg_stat_user_tables s ON s.relid = l.oid JOIN pg_statio_user_tables b ON b.relid = l.oid
    GROUP BY l.group_name, l.bucket
)
SELECT pg_is_in_recovery() AS "inRecovery",
  concat_ws('/', extract(epoch FROM pg_postmaster_start_time()), coalesce(extract(epoch FROM d.stats_reset), 0))
    AS incarnation,
  coalesce((SELECT jsonb_agg(jsonb_build_object('group', b.group_name, 'id', b.bucket, 'reads', b.reads,
    'writes', b.writes, 'blocks', b.blocks, 'bytes', b.bytes, 'rows', b.rows) ORDER BY b.group_name, b.bucket)
    FROM buckets b), '[]') AS buckets,
  (SELECT count(*) FROM pg_stat_activity a
    WHERE a.datname = d.datname AND a.backend_type = 'client backend' AND a.usename <> current_user)::int AS connections,
  current_setting('max_connections')::int AS "maxConnections",
  (d.xact_commit + d.xact_rollback)::float8 AS transactions,
  d.active_time AS "activeMs",
  pg_database_size(d.datid)::float8 AS "databaseBytes",
  (SELECT CASE WHEN bool_or(r.locked) THEN NULL
      ELSE coalesce(sum(CASE WHEN NOT r.locked THEN pg_total_relation_size(r.oid) END), 0) END
    FROM remains r)::float8 AS "leftBytes",
  ${usedBytes} AS "usedBytes"
FROM pg_stat_database d WHERE d.datname = current_database()`;

/**
 * Reads counters and sizes of every bucket, and the shard's own, in one query in the application database. It waits for
 * nobody: a table under an exclusive lock for more than a second fails it with `lock_not_available`.
 */
export async function readShardLoad(connection: Connection): Promise<ShardLoadStats> {
  return connection.transaction(async () => {
    await connection.query({ text: "SET LOCAL lock_timeout = '1s'; SET LOCAL jit = off" });
    const [row] = await connection.query<ShardLoadStats>({ text: loadQuery });
    if (row === undefined) throw new Error('no row of load');
    return row;
  }, 'BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY');
}

/** The key value with most rows of a bucket. */
export interface TopKey {
  readonly group: string;
  readonly id: number;
  readonly value: string;
  /** Part of the rows of the bucket's largest leaf, as ANALYZE saw it. */
  readonly share: number;
}

const topKeysQuery = `
SELECT DISTINCT ON (t.group_name, w.id) t.group_name AS group, w.id,
    (s.most_common_vals::text::text[])[1] AS value, s.most_common_freqs[1]::float8 AS share
  FROM jsonb_to_recordset($1::jsonb) AS w("group" text, id int)
  JOIN herdsman.tables t ON t.group_name = w."group"
  JOIN pg_class c ON c.relnamespace = 'public'::regnamespace
    AND c.relname = t.table_name || '_b' || lpad(w.id::text, 4, '0')
  JOIN pg_stats s ON s.schemaname = 'public' AND s.tablename = c.relname AND s.attname = t.key_column
  WHERE s.most_common_vals IS NOT NULL
  ORDER BY t.group_name, w.id, c.relpages DESC, c.relname`;

/** Reads which key has most rows in each of some buckets; nothing for a bucket that was not analysed or has no such key. */
export function readTopKeys(
  connection: Connection,
  buckets: readonly { readonly group: string; readonly id: number }[],
): Promise<TopKey[]> {
  const wanted = buckets.map(({ group, id }) => ({ group, id }));
  return connection.query<TopKey>({ text: topKeysQuery, values: [JSON.stringify(wanted)] });
}
