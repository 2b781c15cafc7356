import { setTimeout as sleep } from 'node:timers/promises';
import type { LedgerEntry } from '../../sharding/shard-catalog.ts';
import type { Connection } from '../connection.ts';
import { conninfoOf, setConninfo } from '../conninfo.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { statement } from '../statement.ts';
import type { ModelTable } from './definition.ts';
import { shardOfSubscription, subscriptionName } from './names.ts';
import type { SourceTable } from './publisher.ts';
import { waitsForMigration, wasTruncated } from './schema.ts';

/** One subscription of a read model. */
export interface ModelStream {
  readonly name: string;
  readonly shard: string;
  /** Bytes of WAL of the shard up to which all is applied; `undefined` before anything was. */
  readonly applied: number | undefined;
  /** Whether a worker applies it now. */
  readonly running: boolean;
  /** Whether a worker may: one that was being stopped when its operator ended has been left without. */
  readonly enabled: boolean;
  /** Place of the migration at which it waits. */
  readonly waitsFor: number | undefined;
  /** Whether it brings the TRUNCATE of one shard alone. */
  readonly truncated: boolean;
  readonly applyErrors: number;
  readonly syncErrors: number;
  /** Tables that are not copied yet, by `pg_subscription_rel`. */
  readonly copying: readonly string[];
  /** Pod that it streams from, and its timeline, as they were checked last. */
  readonly source: string | undefined;
  readonly timeline: number | undefined;
}

/** Epochs of buckets: group, then bucket. */
export type BucketEpochs = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** What a read model says of itself. */
export interface ModelFacts {
  /** Its copy, once one has begun. */
  readonly copy:
    | {
        readonly name: string;
        readonly definition: string;
        readonly buckets: BucketEpochs;
        readonly live: boolean;
      }
    | undefined;
  readonly streams: readonly ModelStream[];
  readonly ledger: readonly LedgerEntry[];
  /** Whether a parameter takes effect only when the server restarts. */
  readonly pendingRestart: boolean;
}

interface StreamRow extends Omit<ModelStream, 'shard' | 'waitsFor' | 'applied' | 'source' | 'timeline'> {
  readonly waitsFor: number | null;
  readonly applied: number | null;
  readonly source: string | null;
  readonly timeline: number | null;
}

const query = `
SELECT (SELECT jsonb_build_object('name', m.copy, 'definition', m.definition, 'buckets', m.buckets, 'live', m.live)
    FROM herdsman.read_model m) AS copy,
  coalesce((SELECT jsonb_agg(jsonb_build_object('name', s.subname,
      'applied', pg_wal_lsn_diff(greatest(pg_replication_origin_progress('pg_' || s.oid, true), w.latest_end_lsn), '0/0')::float8,
      'running', w.pid IS NOT NULL, 'enabled', s.subenabled,
      'waitsFor', (SELECT max(l.objid::int8) FROM pg_locks l WHERE l.pid = w.pid AND l.locktype = 'advisory' AND l.classid = ${waitsForMigration}
        AND l.objsubid = 2),
      'truncated', EXISTS (SELECT FROM pg_locks l WHERE l.pid = w.pid AND l.locktype = 'advisory' AND l.classid = ${wasTruncated}),
      'applyErrors', coalesce(e.apply_error_count, 0), 'syncErrors', coalesce(e.sync_error_count, 0),
      'copying', (SELECT coalesce(jsonb_agg(c.relname ORDER BY c.relname), '[]') FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid
        WHERE r.srsubid = s.oid AND r.srsubstate <> 'r'),
      'source', t.source, 'timeline', t.timeline) ORDER BY s.subname)
    FROM pg_subscription s
    LEFT JOIN pg_stat_subscription w ON w.subid = s.oid AND w.worker_type = 'apply'
    LEFT JOIN pg_stat_subscription_stats e ON e.subid = s.oid
    LEFT JOIN herdsman.read_streams t ON t.shard = substring(s.subname FROM '_(s[0-9]+)$')
    WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())), '[]') AS streams,
  coalesce((SELECT jsonb_agg(jsonb_build_object('name', m.name, 'position', m.position, 'checksum', m.checksum) ORDER BY m.position)
    FROM herdsman.migrations m), '[]') AS ledger,
  EXISTS (SELECT FROM pg_settings WHERE pending_restart) AS "pendingRestart"`;

/** Asks a read model, in its database, as the operator. */
export async function readModel(connection: Connection): Promise<ModelFacts> {
  const [row] = await connection.query<
    Omit<ModelFacts, 'copy' | 'streams'> & {
      readonly copy: ModelFacts['copy'] | null;
      readonly streams: readonly StreamRow[];
    }
  >({ text: query });
  if (row === undefined) throw new Error('no row of the read model');
  return {
    ...row,
    copy: row.copy ?? undefined,
    streams: row.streams.flatMap((stream): ModelStream[] => {
      const shard = shardOfSubscription(stream.name);
      if (shard === undefined) return [];
      const { applied, waitsFor, source, timeline, ...rest } = stream;
      return [
        {
          ...rest,
          shard,
          applied: applied ?? undefined,
          waitsFor: waitsFor ?? undefined,
          source: source ?? undefined,
          timeline: timeline ?? undefined,
        },
      ];
    }),
  };
}

/**
 * Begins a copy: nothing is subscribed to, all tables are empty, have somewhere to put rows, refuse those of others, and take
 * NULL where a column is not copied.
 */
export async function beginCopy(
  connection: Connection,
  copy: string,
  definition: string,
  tables: readonly ModelTable[],
  sources: readonly SourceTable[],
  buckets: BucketEpochs,
): Promise<void> {
  const names = tables.map(({ name }) => qualified('public', name));
  const statements = [
    "SET LOCAL herdsman.migrating = 'on'",
    'DELETE FROM herdsman.read_streams',
    ...tables.flatMap(preparation),
    ...emptyColumns(tables, sources),
    `TRUNCATE ${names.join(', ')} CASCADE`,
    'DELETE FROM herdsman.read_model',
    `INSERT INTO herdsman.read_model (copy, definition, buckets) VALUES (${quoteLiteral(copy)}, ${quoteLiteral(definition)},
      ${quoteLiteral(JSON.stringify(buckets))}::jsonb)`,
  ];
  await runTogether(connection, statements, { lockTimeoutMs: 5_000 });
}

function preparation({ name, reference }: ModelTable): string[] {
  const table = qualified('public', name);
  const literal = quoteLiteral(table);
  const leaf = qualified('public', `${name}_all`);
  return [
    `DO $herdsman$ DECLARE strategy "char" := (SELECT p.partstrat FROM pg_partitioned_table p WHERE p.partrelid = ${literal}::regclass); BEGIN
      IF strategy IS NOT NULL AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = ${literal}::regclass) THEN
        IF strategy = 'h' THEN CREATE TABLE ${leaf} PARTITION OF ${table} FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        ELSE CREATE TABLE ${leaf} PARTITION OF ${table} DEFAULT; END IF;
        EXECUTE format('ALTER TABLE %s OWNER TO %I', ${quoteLiteral(leaf)},
          (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = ${literal}::regclass));
      END IF; END $herdsman$`,
    `CREATE OR REPLACE TRIGGER herdsman_refuse_write BEFORE INSERT OR UPDATE OR DELETE ON ${table}
      FOR EACH ROW EXECUTE FUNCTION herdsman.refuse_write()`,
    `CREATE OR REPLACE TRIGGER herdsman_refuse_empty BEFORE TRUNCATE ON ${table}
      FOR EACH STATEMENT EXECUTE FUNCTION herdsman.refuse_write()`,
    ...(reference
      ? []
      : [
          `CREATE OR REPLACE TRIGGER herdsman_refuse_truncate BEFORE TRUNCATE ON ${table}
            FOR EACH STATEMENT EXECUTE FUNCTION herdsman.refuse_truncate()`,
          `ALTER TABLE ${table} ENABLE REPLICA TRIGGER herdsman_refuse_truncate`,
        ]),
  ];
}

/**
 * Columns that the shards have and that are not copied stay empty, and are neither filled by a default nor demanded. Those of a
 * primary key have to be copied, which is told elsewhere.
 */
export function emptyColumns(tables: readonly ModelTable[], sources: readonly SourceTable[]): string[] {
  return tables.flatMap(({ name, columns }) => {
    const known = sources.find((source) => source.name === name)?.columns ?? [];
    const omitted = columns === undefined ? [] : known.filter((column) => !columns.includes(column));
    const table = qualified('public', name);
    return omitted.map((column) => {
      const alter = `ALTER TABLE ${table} ALTER COLUMN ${quoteIdentifier(column)}`;
      const isColumn = `FROM pg_attribute a WHERE a.attrelid = to_regclass(${quoteLiteral(table)})
        AND a.attname = ${quoteLiteral(column)} AND a.attidentity = '' AND NOT EXISTS (
          SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey))`;
      return `DO $herdsman$ BEGIN
        IF EXISTS (SELECT ${isColumn} AND a.attnotnull) THEN ${alter} DROP NOT NULL; END IF;
        IF EXISTS (SELECT ${isColumn} AND a.atthasdef) THEN ${alter} DROP DEFAULT; END IF; END $herdsman$`;
    });
  });
}

/** Where a stream comes from. */
export interface StreamSource {
  readonly shard: string;
  /** Pod of the primary, and its timeline. */
  readonly member: string;
  readonly timeline: number;
  /** Parameters of libpq, without user and password. */
  readonly address: Readonly<Record<string, string>>;
  readonly password: string;
}

/** Starts a stream, with a copy of what is there before it, or without when nothing is. */
export async function subscribe(
  connection: Connection,
  copy: string,
  publication: string,
  source: StreamSource,
  copyData: boolean,
): Promise<void> {
  const name = quoteIdentifier(subscriptionName(copy, source.shard));
  await withConninfo(connection, copy, source, [
    `EXECUTE format('CREATE SUBSCRIPTION ${name} CONNECTION %L PUBLICATION ${quoteIdentifier(publication)}
      WITH (create_slot = false, slot_name = ${quoteIdentifier(copy)}, failover = true, origin = any, streaming = off,
        copy_data = ${copyData})', current_setting('herdsman.conninfo'));`,
  ]);
}

/** Lets a stream go on from another server, once its worker has ended; see `pauseStream`. */
export async function resumeStream(
  connection: Connection,
  copy: string,
  source: StreamSource,
): Promise<void> {
  const name = quoteIdentifier(subscriptionName(copy, source.shard));
  await withConninfo(connection, copy, source, [
    `EXECUTE format('ALTER SUBSCRIPTION ${name} CONNECTION %L', current_setting('herdsman.conninfo'));`,
    `ALTER SUBSCRIPTION ${name} ENABLE;`,
  ]);
}

/** An error tells nothing of the password. */
async function withConninfo(
  connection: Connection,
  copy: string,
  { shard, member, timeline, address, password }: StreamSource,
  statements: readonly string[],
): Promise<void> {
  const parameters = { ...address, user: copy, password, application_name: copy };
  await connection.transaction(async () => {
    await setConninfo(connection, conninfoOf(parameters));
    await connection.query({
      text: `DO $herdsman$ BEGIN ${statements.join(' ')}
        EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'cannot subscribe to shard ${shard}: %', SQLERRM USING ERRCODE = SQLSTATE;
        END $herdsman$`,
    });
    await connection.query(
      statement(
        `INSERT INTO herdsman.read_streams (shard, source, timeline) VALUES ($1, $2, $3)
          ON CONFLICT (shard) DO UPDATE SET source = excluded.source, timeline = excluded.timeline`,
        shard,
        member,
        timeline,
      ),
    );
  });
}

/** How long a worker may take to end. */
const endMs = 5_000;

/** Stops a stream; answers the bytes of WAL up to which it is applied, once nothing more can come. */
export async function pauseStream(connection: Connection, name: string): Promise<number> {
  await connection.query({ text: `ALTER SUBSCRIPTION ${quoteIdentifier(name)} DISABLE` });
  const until = performance.now() + endMs;
  for (;;) {
    const [row] = await connection.query<{ running: boolean; applied: number | null }>(
      statement(
        `SELECT EXISTS (SELECT FROM pg_stat_subscription w WHERE w.subid = s.oid AND w.pid IS NOT NULL) AS running,
            -- What the copy of a table has brought counts as well.
            pg_wal_lsn_diff(greatest(pg_replication_origin_progress('pg_' || s.oid, true),
              (SELECT max(r.srsublsn) FROM pg_subscription_rel r WHERE r.srsubid = s.oid)), '0/0')::float8 AS applied
          FROM pg_subscription s WHERE s.subname = $1`,
        name,
      ),
    );
    if (row === undefined) throw new Error(`there is no subscription ${name}`);
    if (!row.running) return row.applied ?? 0;
    if (performance.now() > until) throw new Error(`subscription ${name} does not end`);
    await sleep(20);
  }
}

/** Ends streams; what they brought stays. Their slots are dropped elsewhere, and before. */
export async function unsubscribe(connection: Connection, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const quoted = quoteIdentifier(name);
    await connection.query({ text: `ALTER SUBSCRIPTION ${quoted} DISABLE` });
    await connection.query({ text: `ALTER SUBSCRIPTION ${quoted} SET (slot_name = NONE)` });
    await connection.query({ text: `DROP SUBSCRIPTION ${quoted}` });
    await connection.query(
      statement('DELETE FROM herdsman.read_streams WHERE shard = $1', shardOfSubscription(name) ?? ''),
    );
  }
}

/** Forgets the copy, and takes away what it had brought, as far as its tables are still there. */
export async function forgetCopy(connection: Connection, tables: readonly string[]): Promise<void> {
  const there = await connection.query<{ name: string }>(
    statement(
      `SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND c.relname = ANY ($1)`,
      tables,
    ),
  );
  const names = there.map(({ name }) => qualified('public', name)).join(', ');
  await runTogether(
    connection,
    [
      "SET LOCAL herdsman.migrating = 'on'",
      ...(names === '' ? [] : [`TRUNCATE ${names} CASCADE`]),
      'DELETE FROM herdsman.read_streams',
      'DELETE FROM herdsman.read_model',
    ],
    { lockTimeoutMs: 5_000 },
  );
}

/** From here on the copy is whole. */
export async function markLive(connection: Connection, copy: string, buckets: BucketEpochs): Promise<void> {
  await connection.query(
    statement(
      'UPDATE herdsman.read_model SET live = true, buckets = $2 WHERE copy = $1',
      copy,
      JSON.stringify(buckets),
    ),
  );
}
