import type {
  ImportColumn,
  ImportRecord,
  ShardFacts,
  ShardTable,
  SourceFacts,
  SourceTable,
  Subscription,
} from '../../sharding/import/model.ts';
import { firstVersion } from '../../sharding/import/problems.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteLiteral } from '../identifier.ts';
import { statement } from '../statement.ts';
import { readImport } from './context.ts';

/** Whether an expression fills it; what may not be there yet on an older server is read out of the row as JSON. */
const generated = "coalesce(to_jsonb(a) ->> 'attgenerated', '') <> ''";
const columnsQuery = `
  (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'optional', NOT a.attnotnull OR a.atthasdef OR a.attidentity <> '') ORDER BY a.attnum), '[]')
    FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT (${generated}))`;

/** Of PostgreSQL 10 to 17. */
const sourceQuery = `
SELECT jsonb_build_object(
  'version', current_setting('server_version_num')::int,
  'walLevel', current_setting('wal_level'),
  'inRecovery', pg_is_in_recovery(),
  'lsn', CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
  'freeSlots', current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots),
  'freeSenders', current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication),
  'mayReplicate', (SELECT r.rolreplication OR r.rolsuper FROM pg_roles r WHERE r.rolname = current_user),
  'mayCreate', has_database_privilege(current_database(), 'CREATE'),
  'hiddenSequences', (SELECT coalesce(jsonb_agg(s.relname ORDER BY s.relname), '[]') FROM pg_class s
    WHERE s.relnamespace = 'public'::regnamespace AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'SELECT') END
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i', 'e'))),
  'confirmedLsn', (SELECT s.confirmed_flush_lsn FROM pg_replication_slots s WHERE s.slot_name = $1),
  'isPublished', EXISTS (SELECT FROM pg_publication p WHERE p.pubname = $1),
  'slot', (SELECT CASE WHEN s.database = current_database() AND coalesce(to_jsonb(s) ->> 'wal_status', '') <> 'lost'
      THEN 'present' ELSE 'lost' END FROM pg_replication_slots s WHERE s.slot_name = $1),
  'isFenced', EXISTS (SELECT FROM pg_trigger t WHERE t.tgname = $1),
  'fenceToken', (SELECT obj_description(n.oid, 'pg_namespace') FROM pg_namespace n WHERE n.nspname = $1),
  'tables', (SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', c.relname,
      'kind', CASE WHEN c.relispartition THEN 'partition' WHEN c.relkind = 'p' THEN 'partitioned'
        WHEN c.relpersistence <> 'p' THEN 'unlogged'
        WHEN EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid)) THEN 'inherited' ELSE 'plain' END,
      'owned', pg_has_role(c.relowner, 'USAGE'),
      'filtered', row_security_active(c.oid)
        OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid AND row_security_active(i.inhrelid)),
      'columns', ${columnsQuery},
      'identity', CASE WHEN c.relreplident = 'f' THEN '"full"'::jsonb ELSE coalesce((SELECT jsonb_agg(a.attname ORDER BY a.attnum)
        FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND ((c.relreplident = 'd' AND i.indisprimary) OR (c.relreplident = 'i' AND i.indisreplident))), '[]') END,
      'bytes', (WITH RECURSIVE tree(oid) AS (SELECT c.oid UNION ALL
          SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid)
        SELECT coalesce(sum(pg_table_size(tree.oid)), 0) FROM tree)) ORDER BY c.relname), '[]')
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
) AS facts`;

/** Of a server that is too old to be asked more. */
const nothing: Omit<SourceFacts, 'version'> = {
  walLevel: '',
  inRecovery: false,
  lsn: '0/0',
  freeSlots: 0,
  freeSenders: 0,
  mayReplicate: false,
  mayCreate: false,
  hiddenSequences: [],
  confirmedLsn: null,
  tables: [],
  isPublished: false,
  slot: undefined,
  isFenced: false,
  fenceToken: null,
};

/** Reads what the other server has, and what is there by the import's name. */
export async function lookAtSource(connection: Connection, name: string): Promise<SourceFacts> {
  const [server] = await connection.query<{ version: number }>({
    text: "SELECT current_setting('server_version_num')::int AS version",
  });
  const version = server?.version ?? 0;
  if (version < firstVersion) return { ...nothing, version };
  const [row] = await connection.query<{ facts: SourceFacts & { slot: SourceFacts['slot'] | null } }>(
    statement(sourceQuery, name),
  );
  if (row === undefined) throw new Error('the server has said nothing of itself');
  return { ...row.facts, slot: row.facts.slot ?? undefined };
}

const shardQuery = `
SELECT coalesce(jsonb_agg(jsonb_build_object(
  'name', c.relname,
  'partitioned', c.relkind = 'p',
  'owner', pg_get_userbyid(c.relowner),
  'columns', ${columnsQuery},
  'generated', (SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND ${generated}),
  'primaryKey', (SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_index i, pg_attribute a
    WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = ANY (i.indkey)),
  'refersTo', (SELECT coalesce(jsonb_agg(DISTINCT f.relname), '[]') FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
    WHERE k.conrelid = c.oid AND k.contype = 'f' AND f.relnamespace = c.relnamespace),
  'bytes', pg_table_size(c.oid)) ORDER BY c.relname), '[]') AS tables,
  pg_database_size(current_database())::float8 AS "databaseBytes"
FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition`;

/** Reads what the shard has: its tables, and how far the import by that name is. */
export async function lookAtShard(connection: Connection, name: string): Promise<ShardFacts> {
  return connection.transaction(async () => {
    const record = await readImport(connection, name);
    const [row] = await connection.query<{
      tables: Omit<ShardTable, 'hasRows'>[];
      databaseBytes: number;
    }>(statement(shardQuery, applicationSchema));
    const { tables = [], databaseBytes = 0 } = row ?? {};
    const filled = record === undefined ? await tablesWithRows(connection, tables) : new Set<string>();
    return {
      record,
      tables: tables.map((table) => ({ ...table, hasRows: filled.has(table.name) })),
      databaseBytes,
      subscription: await lookAtSubscription(connection, name),
    };
  }, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
}

async function tablesWithRows(
  connection: Connection,
  tables: readonly { readonly name: string }[],
): Promise<Set<string>> {
  if (tables.length === 0) return new Set();
  const parts = tables.map(
    ({ name }) =>
      `SELECT ${quoteLiteral(name)} AS name WHERE EXISTS (SELECT FROM ${qualified(applicationSchema, name)})`,
  );
  const found = await connection.query<{ name: string }>({ text: parts.join(' UNION ALL ') });
  return new Set(found.map((row) => row.name));
}

/** Reads how the subscription of an import is. */
export async function lookAtSubscription(
  connection: Connection,
  name: string,
): Promise<Subscription | undefined> {
  const [row] = await connection.query<{ subscription: Subscription }>(
    statement(
      `SELECT jsonb_build_object(
        'ready', (SELECT coalesce(jsonb_agg(c.relname), '[]') FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid
          WHERE r.srsubid = s.oid AND r.srsubstate = 'r'),
        'total', (SELECT count(*) FROM pg_subscription_rel r WHERE r.srsubid = s.oid),
        'receivedLsn', (SELECT a.received_lsn FROM pg_stat_subscription a
          WHERE a.subid = s.oid AND a.worker_type = 'apply' AND a.pid IS NOT NULL),
        'errors', (SELECT e.apply_error_count + e.sync_error_count FROM pg_stat_subscription_stats e WHERE e.subid = s.oid)
      ) AS subscription FROM pg_subscription s
      WHERE s.subname = $1 AND s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())`,
      name,
    ),
  );
  return row?.subscription;
}

/** Columns that both sides of a table have, and that are compared. */
export function commonColumns(from: SourceTable, to: ShardTable): string[] {
  const names = (columns: readonly ImportColumn[]) => columns.map(({ name }) => name);
  return names(from.columns)
    .filter((name) => names(to.columns).includes(name))
    .sort();
}

/** The tables of an import on the shard. */
export function tablesOf({ tables }: Pick<ImportRecord, 'tables'>, shard: ShardFacts): ShardTable[] {
  return shard.tables.filter(({ name }) => tables.includes(name));
}
