import type { Batch } from '../sharding/leaves.ts';
import type {
  CatalogTable,
  ForeignKey,
  LedgerEntry,
  MovingBucket,
  OwnedSequence,
  ShardCatalog,
} from '../sharding/shard-catalog.ts';
import type { Connection } from './connection.ts';
import { readConversions } from './conversion/context.ts';
import { waitBriefly } from './lock-wait.ts';
import { isRetryable } from './postgres-error.ts';
import type { Statement } from './statement.ts';

/** Ordinary and partitioned tables of the application schema, with what partitioning needs to know. */
const tablesQuery = `
SELECT coalesce(jsonb_agg(jsonb_build_object(
  'name', c.relname,
  'owner', pg_get_userbyid(c.relowner),
  'partitioned', c.relkind = 'p',
  'strategy', CASE p.partstrat WHEN 'h' THEN 'hash' WHEN 'l' THEN 'list' WHEN 'r' THEN 'range' END,
  'key', coalesce(k.names, '[]'),
  'keyTypes', coalesce(k.types, '[]'),
  'primaryKey', coalesce((
    SELECT jsonb_agg(a.attname ORDER BY u.place)
      FROM pg_constraint pk, unnest(pk.conkey) WITH ORDINALITY u(number, place), pg_attribute a
      WHERE pk.conrelid = c.oid AND pk.contype = 'p' AND a.attrelid = c.oid AND a.attnum = u.number
  ), '[]'),
  'parent', parent.relname,
  'bound', pg_get_expr(c.relpartbound, c.oid),
  'checks', coalesce((
    SELECT jsonb_agg(pg_get_constraintdef(x.oid) ORDER BY x.conname) FROM pg_constraint x
      WHERE x.conrelid = c.oid AND x.contype = 'c' AND c.relkind = 'p' AND NOT c.relispartition
  ), '[]'),
  'refuses', EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'herdsman_refuse')
) ORDER BY c.relname), '[]') AS tables
FROM pg_class c
LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
LEFT JOIN LATERAL (
  SELECT jsonb_agg(coalesce(a.attname, '') ORDER BY u.place) AS names,
         jsonb_agg(coalesce(format_type(a.atttypid, a.atttypmod), '') ORDER BY u.place) AS types
    FROM unnest(p.partattrs) WITH ORDINALITY u(number, place)
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.number AND u.number > 0
) k ON true
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent AND parent.relnamespace = c.relnamespace
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')`;

/** Foreign keys of those tables, without those that a parent's key or a referenced table's partitions bring along. */
const foreignKeysQuery = `
SELECT coalesce(jsonb_agg(jsonb_build_object(
  'table', c.relname,
  'name', f.conname,
  'columns', (SELECT jsonb_agg(a.attname ORDER BY u.place) FROM unnest(f.conkey) WITH ORDINALITY u(number, place),
    pg_attribute a WHERE a.attrelid = f.conrelid AND a.attnum = u.number),
  'referencedSchema', rn.nspname,
  'referencedTable', r.relname,
  'referencedColumns', (SELECT jsonb_agg(a.attname ORDER BY u.place) FROM unnest(f.confkey) WITH ORDINALITY u(number, place),
    pg_attribute a WHERE a.attrelid = f.confrelid AND a.attnum = u.number),
  'onUpdate', actions.names ->> f.confupdtype::text,
  'onDelete', actions.names ->> f.confdeltype::text,
  'onDeleteColumns', coalesce((SELECT jsonb_agg(a.attname ORDER BY u.place)
    FROM unnest(f.confdelsetcols) WITH ORDINALITY u(number, place), pg_attribute a
    WHERE a.attrelid = f.conrelid AND a.attnum = u.number), '[]'),
  'matchFull', f.confmatchtype = 'f',
  'deferrable', f.condeferrable,
  'initiallyDeferred', f.condeferred
) ORDER BY c.relname, f.conname), '[]') AS keys
FROM pg_constraint f
JOIN pg_class c ON c.oid = f.conrelid
JOIN pg_class r ON r.oid = f.confrelid
JOIN pg_namespace rn ON rn.oid = r.relnamespace,
(SELECT '{"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}'::jsonb AS names) actions
WHERE f.contype = 'f' AND f.conparentid = 0 AND c.relnamespace = 'public'::regnamespace`;

const ownQuery = `
SELECT
  coalesce((SELECT jsonb_agg(k.definition ORDER BY k.table_name, k.name) FROM herdsman.foreign_keys k), '[]') AS recorded,
  coalesce((SELECT jsonb_agg(jsonb_build_object('table', s.table_name, 'start', s.start, 'maximum', s.maximum, 'unused', s.unused))
    FROM herdsman.sequences() s), '[]') AS sequences,
  coalesce((SELECT jsonb_agg(m) FROM herdsman.markers() m), '[]') AS markers,
  coalesce((SELECT jsonb_agg(m ORDER BY m.group_name, m.bucket) FROM herdsman.shard_map m), '[]') AS mirror,
  coalesce((SELECT jsonb_agg(t ORDER BY t.table_name) FROM herdsman.tables t), '[]') AS distribution,
  coalesce((SELECT jsonb_agg(jsonb_build_object('name', l.name, 'position', l.position, 'checksum', l.checksum)
    ORDER BY l.position) FROM herdsman.migrations l), '[]') AS ledger`;

const stateQuery = `
SELECT to_regclass('herdsman.schema_version') IS NOT NULL AS installed, to_regclass('herdsman.moves') IS NOT NULL AS moves,
  (SELECT count(*)::int FROM pg_prepared_xacts x WHERE x.database = current_database()) AS prepared`;

const movingQuery = 'SELECT m.group_name AS group, m.bucket FROM herdsman.moves m ORDER BY 1, 2';

interface OwnRow {
  readonly recorded: ForeignKey[];
  readonly sequences: OwnedSequence[];
  readonly markers: ShardCatalog['markers'];
  readonly mirror: ShardCatalog['mirror'];
  readonly distribution: ShardCatalog['distribution'];
  readonly ledger: LedgerEntry[];
}

/** Reads what the shard's application database holds, in one snapshot, as the operator. Fails where a table is locked (`isLocked`). */
export async function readCatalog(connection: Connection): Promise<ShardCatalog> {
  return connection.transaction(async () => {
    await connection.query(waitBriefly);
    const [state] = await connection.query<{ installed: boolean; moves: boolean; prepared: number }>({
      text: stateQuery,
    });
    const installed = state?.installed === true;
    const tables = await readTables(connection);
    const moving = state?.moves === true ? await connection.query<MovingBucket>({ text: movingQuery }) : [];
    const conversions = installed ? await readConversions(connection) : [];
    // Last: every marker stays locked until the end, and a fence would wait for it.
    const [own] = installed ? await connection.query<OwnRow>({ text: ownQuery }) : [];
    return {
      installed,
      ...tables,
      recordedKeys: own?.recorded ?? [],
      sequences: own?.sequences ?? [],
      markers: own?.markers ?? [],
      mirror: own?.mirror ?? [],
      distribution: own?.distribution ?? [],
      ledger: own?.ledger ?? [],
      preparedTransactions: state?.prepared ?? 0,
      moving,
      conversions,
    };
  }, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
}

/** Reads what the foreign keys' place depends on, in the transaction of a migration, as the application. */
export async function readKeyCatalog(connection: Connection): Promise<ShardCatalog> {
  const tables = await readTables(connection);
  const [recorded] = await connection.query<{ recorded: ForeignKey[] }>({
    text: `SELECT coalesce(jsonb_agg(k.definition ORDER BY k.table_name, k.name), '[]') AS recorded FROM herdsman.foreign_keys k`,
  });
  const nothing = {
    sequences: [],
    markers: [],
    mirror: [],
    distribution: [],
    ledger: [],
    preparedTransactions: 0,
    moving: [],
    conversions: [],
  };
  return { installed: true, ...tables, recordedKeys: recorded?.recorded ?? [], ...nothing };
}

async function readTables(connection: Connection): Promise<Pick<ShardCatalog, 'tables' | 'foreignKeys'>> {
  const [tables] = await connection.query<{ tables: CatalogTable[] }>({ text: tablesQuery });
  const [keys] = await connection.query<{ keys: ForeignKey[] }>({ text: foreignKeysQuery });
  return { tables: tables?.tables ?? [], foreignKeys: keys?.keys ?? [] };
}

/** The ledger of migrations alone; empty while the schema is not installed. */
export async function readLedger(connection: Connection): Promise<LedgerEntry[]> {
  const [state] = await connection.query<{ installed: boolean }>({ text: stateQuery });
  if (state?.installed !== true) return [];
  return connection.query<LedgerEntry & Record<string, unknown>>({
    text: 'SELECT name, position, checksum FROM herdsman.migrations ORDER BY position',
  });
}

/**
 * Runs planned batches, each in a transaction, and tries one again a few times that waited for a lock too long. Two operators
 * at once: the second finds things there, fails with 42P07, and plans anew.
 */
export async function applyBatches(
  connection: Connection,
  batches: readonly Batch[],
  { lockTimeoutMs = 3_000, attempts = 3 }: { lockTimeoutMs?: number; attempts?: number } = {},
): Promise<void> {
  for (const batch of batches) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await connection.transaction(async () => {
          await connection.query({ text: `SET LOCAL lock_timeout = ${lockTimeoutMs}` });
          for (const part of joined(batch.statements)) await connection.query(part);
        });
        break;
      } catch (error) {
        if (attempt >= attempts || !isRetryable(error)) throw error;
      }
    }
  }
}

/** Joins neighbouring statements without values: one round trip for all of them. */
function joined(statements: readonly Statement[]): Statement[] {
  const parts: Statement[] = [];
  for (const next of statements) {
    const last = parts.at(-1);
    if (last === undefined || last.values !== undefined || next.values !== undefined) parts.push(next);
    else parts[parts.length - 1] = { text: `${last.text};\n${next.text}` };
  }
  return parts;
}
