import { setTimeout as sleep } from 'node:timers/promises';
import type { LedgerEntry } from '../../sharding/shard-catalog.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { asOwner } from '../move/context.ts';
import { PostgresError } from '../postgres-error.ts';
import { runTogether } from '../run-together.ts';
import { scramVerifier } from '../scram.ts';
import { isStale } from '../stale-slots.ts';
import { statement } from '../statement.ts';
import type { ModelTable } from './definition.ts';
import { parseName } from './names.ts';

/** A table of a shard, as far as copying it depends on it. */
export interface SourceTable {
  readonly name: string;
  readonly owner: string;
  readonly partitioned: boolean;
  /** Columns that can be published. */
  readonly columns: readonly string[];
  /** Columns by which a changed row is found. */
  readonly identity: readonly string[];
}

/** A replication slot of a read model. */
export interface SourceSlot {
  readonly name: string;
  /** Whether the WAL that it needs is gone, or it can no longer be used for another reason. */
  readonly lost: boolean;
}

/** What a primary says that read models depend on. */
export interface SourceFacts {
  readonly timeline: number;
  /** Bytes of WAL since the beginning of time that are on disk. */
  readonly position: number;
  readonly maxWalSenders: number;
  readonly maxReplicationSlots: number;
  /** Migrations that were applied. */
  readonly ledger: readonly LedgerEntry[];
  /** Whether the shard takes part in a move of a bucket. */
  readonly moving: boolean;
  readonly tables: readonly SourceTable[];
  readonly publications: readonly string[];
  readonly slots: readonly SourceSlot[];
  /** Roles of copies. */
  readonly roles: readonly string[];
}

interface Row extends SourceFacts {
  readonly inRecovery: boolean;
}

const query = `
SELECT pg_is_in_recovery() AS "inRecovery",
  CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int END AS timeline,
  CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::float8 END AS position,
  current_setting('max_wal_senders')::int AS "maxWalSenders", current_setting('max_replication_slots')::int AS "maxReplicationSlots",
  coalesce((SELECT jsonb_agg(jsonb_build_object('name', m.name, 'position', m.position, 'checksum', m.checksum) ORDER BY m.position)
    FROM herdsman.migrations m), '[]') AS ledger,
  EXISTS (SELECT FROM herdsman.moves) AS moving,
  coalesce((SELECT jsonb_agg(jsonb_build_object('name', c.relname, 'owner', pg_get_userbyid(c.relowner),
      'partitioned', c.relkind = 'p',
      'columns', (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
      'identity', (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND CASE
          -- Leaves have the identity of the primary key, whatever their parent has.
          WHEN c.relkind <> 'p' AND c.relreplident = 'f' THEN a.attgenerated = ''
          WHEN c.relkind <> 'p' AND c.relreplident = 'n' THEN false
          ELSE EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey)
            AND CASE WHEN c.relkind <> 'p' AND c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END) END)))
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname = ANY ($1)), '[]') AS tables,
  coalesce((SELECT jsonb_agg(p.pubname) FROM pg_publication p WHERE starts_with(p.pubname, 'hr_')), '[]') AS publications,
  coalesce((SELECT jsonb_agg(jsonb_build_object('name', s.slot_name,
      'lost', s.wal_status = 'lost' OR s.invalidation_reason IS NOT NULL))
    FROM pg_replication_slots s WHERE s.database = current_database() AND starts_with(s.slot_name, 'hr_')), '[]') AS slots,
  coalesce((SELECT jsonb_agg(r.rolname) FROM pg_roles r WHERE starts_with(r.rolname, 'hr_')), '[]') AS roles`;

/** Asks a primary, in its application database, as the operator; a server in recovery is none. */
export async function readSource(connection: Connection, tables: readonly string[]): Promise<SourceFacts> {
  const [row] = await connection.query<Row & Record<string, unknown>>(statement(query, tables));
  if (row === undefined || row.inRecovery) throw new Error('the server is not a primary');
  return row;
}

/** How publishing ended. */
export type Published = { readonly kind: 'done' } | { readonly kind: 'refused'; readonly message: string };

const done: Published = { kind: 'done' };

/**
 * What a shard publishes for a set: its tables, as their roots; the ledger, so that streams wait at migrations; and the
 * sentinels of moves. A filter that PostgreSQL could not apply to an UPDATE would make the UPDATE fail, for the shard's own
 * clients: it is refused here instead.
 */
export async function publish(
  connection: Connection,
  publication: string,
  tables: readonly ModelTable[],
  sources: readonly SourceTable[],
): Promise<Published> {
  const name = quoteIdentifier(publication);
  const parts = tables.map(({ name: table, columns, where }) => {
    const list = columns === undefined ? '' : ` (${columns.map(quoteIdentifier).join(', ')})`;
    return `TABLE ${qualified('public', table)}${list}${where === undefined ? '' : ` WHERE (${where}\n)`}`;
  });
  const text =
    `CREATE PUBLICATION ${name} FOR ${[...parts, 'TABLE herdsman.migrations', 'TABLE herdsman.move_sentinels'].join(', ')} ` +
    'WITH (publish_via_partition_root = true)';
  try {
    return await connection.transaction(async () => {
      await connection.query({
        text: "SET LOCAL lock_timeout = '2s'; SET LOCAL search_path = public, pg_catalog",
      });
      const [there] = await connection.query(
        statement('SELECT FROM pg_publication WHERE pubname = $1', publication),
      );
      if (there !== undefined) return done;
      // As one statement only, whatever a filter says: what it says is an expression, or nothing is published.
      await connection.client.query({ text, queryMode: 'extended' } as { text: string });
      const problem = await problemOf(connection, publication, tables, sources);
      if (problem !== undefined) throw new RefusedPublication(problem);
      return done;
    });
  } catch (error) {
    if (error instanceof RefusedPublication) return { kind: 'refused', message: error.message };
    const { code, message } = error as { code?: unknown; message: string };
    // Of PostgreSQL's own words, what is about the statement, not about locks or the connection.
    const isVerdict = typeof code === 'string' && /^(42|0A|22|2F)/.test(code);
    const isKnown = error instanceof PostgresError && /^(42|0A|22)/.test(error.sqlstate);
    if (isVerdict || isKnown) return { kind: 'refused', message };
    throw error;
  }
}

class RefusedPublication extends Error {}

async function problemOf(
  connection: Connection,
  publication: string,
  tables: readonly ModelTable[],
  sources: readonly SourceTable[],
): Promise<string | undefined> {
  const published = await connection.query<{ schema: string; name: string; filtered: string[] }>(
    statement(
      `SELECT n.nspname AS schema, c.relname AS name, coalesce((SELECT array_agg(DISTINCT a.attname::text)
          FROM pg_depend d JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
          WHERE pr.prqual IS NOT NULL AND d.classid = 'pg_publication_rel'::regclass AND d.objid = pr.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid > 0), '{}') AS filtered
        FROM pg_publication p JOIN pg_publication_rel pr ON pr.prpubid = p.oid
        JOIN pg_class c ON c.oid = pr.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1`,
      publication,
    ),
  );
  const expected = new Set(tables.map(({ name }) => `public.${name}`));
  for (const own of ['herdsman.migrations', 'herdsman.move_sentinels']) expected.add(own);
  const other = published.find(({ schema, name }) => !expected.has(`${schema}.${name}`));
  if (other !== undefined || published.length !== expected.size) {
    return 'a filter is one expression: write what follows WHERE, and nothing else';
  }
  for (const { name, filtered } of published) {
    const table = tables.find((candidate) => candidate.name === name);
    if (table?.where === undefined) continue;
    const identity = sources.find((source) => source.name === name)?.identity ?? [];
    // A listed column has a dependency of its own, so that only those count which the expression names.
    const used = filtered.filter((column) => new RegExp(`\\b${column}\\b`).test(table.where ?? ''));
    const wrong = used.filter((column) => !identity.includes(column));
    if (wrong.length > 0) {
      return (
        `the filter of table "${name}" uses ${wrong.join(', ')}: PostgreSQL can filter by columns of the replica identity ` +
        `(${identity.join(', ')}) only. Use those, or give the table another identity in a migration`
      );
    }
  }
  return undefined;
}

/** A role of one copy's own that may read what is copied and nothing else; answers its new password. */
export async function grantCopy(
  connection: Connection,
  copy: string,
  password: string,
  tables: readonly ModelTable[],
  sources: readonly SourceTable[],
): Promise<void> {
  const role = quoteIdentifier(copy);
  const [database] = await connection.query<{ name: string }>({
    text: 'SELECT quote_ident(current_database()) AS name',
  });
  const grants = tables.flatMap(({ name, columns }) => {
    const owner = sources.find((source) => source.name === name)?.owner;
    const list = columns === undefined ? '' : ` (${columns.map(quoteIdentifier).join(', ')})`;
    return owner === undefined
      ? []
      : asOwner(owner, [
          `GRANT CONNECT ON DATABASE ${database?.name} TO ${role}`,
          `GRANT USAGE ON SCHEMA public TO ${role}`,
          `GRANT SELECT${list} ON ${qualified('public', name)} TO ${role}`,
        ]);
  });
  await runTogether(connection, [
    `DO $herdsman$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${quoteLiteral(copy)}) THEN
      CREATE ROLE ${role} LOGIN REPLICATION BYPASSRLS; END IF; END $herdsman$`,
    `ALTER ROLE ${role} PASSWORD ${quoteLiteral(scramVerifier(password))}`,
    `GRANT USAGE ON SCHEMA herdsman TO ${role}`,
    `GRANT SELECT ON herdsman.migrations, herdsman.move_sentinels TO ${role}`,
    ...grants,
  ]);
}

/** Makes the slot of a copy, which a failover keeps. Making one waits for the transactions that run. */
export async function makeSlot(connection: Connection, copy: string): Promise<void> {
  await connection.query(
    statement(
      `SELECT pg_create_logical_replication_slot($1, 'pgoutput', false, false, true)
        WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`,
      copy,
    ),
  );
}

/** How long a walsender may take to leave its slot. */
const releaseMs = 5_000;

/** Drops slots, roles and publications on a shard that `isOver` says are nobody's any more. */
export async function withdraw(
  connection: Connection,
  isOver: (name: string) => boolean,
): Promise<readonly string[]> {
  const mine = (name: string): boolean => parseName(name) !== undefined && isOver(name);
  const dropped: string[] = [];
  const until = performance.now() + releaseMs;
  for (let wait = 0; ; wait = 50) {
    await sleep(wait);
    const slots = await connection.query<{ name: string; pid: number | null }>({
      text: `SELECT slot_name AS name, active_pid AS pid FROM pg_replication_slots
        WHERE database = current_database() AND starts_with(slot_name, 'hr_')`,
    });
    const old = slots.filter(({ name }) => mine(name));
    for (const { name, pid } of old) {
      if (pid !== null) await connection.query(statement('SELECT pg_terminate_backend($1)', pid));
      else {
        await connection.query(statement('SELECT pg_drop_replication_slot($1)', name));
        dropped.push(name);
      }
    }
    if (old.every(({ pid }) => pid === null)) break;
    if (performance.now() > until) throw new Error(`slot ${old[0]?.name} stays in use`);
  }
  const found = await connection.query<{ kind: 'publication' | 'role'; name: string }>({
    text: `SELECT 'publication' AS kind, pubname AS name FROM pg_publication WHERE starts_with(pubname, 'hr_')
      UNION ALL SELECT 'role', rolname FROM pg_roles WHERE starts_with(rolname, 'hr_')`,
  });
  for (const { kind, name } of found.filter((entry) => mine(entry.name))) {
    const quoted = quoteIdentifier(name);
    const statements =
      kind === 'publication'
        ? [`DROP PUBLICATION IF EXISTS ${quoted}`]
        : [
            `GRANT ${quoted} TO CURRENT_USER WITH INHERIT TRUE`,
            `DROP OWNED BY ${quoted}`,
            `DROP ROLE ${quoted}`,
          ];
    await runTogether(connection, statements);
    dropped.push(name);
  }
  return dropped;
}

/**
 * Drops what a demoted server has left of slots of its own time as the primary: the primary's slots of these names are not
 * synchronized to it before. Answers their names.
 */
export async function dropStaleSlots(connection: Connection): Promise<readonly string[]> {
  const rows = await connection.query<{ name: string }>({
    text: `SELECT s.slot_name AS name, pg_drop_replication_slot(s.slot_name) FROM pg_replication_slots s
      WHERE ${isStale} AND (starts_with(s.slot_name, 'hr_') OR starts_with(s.slot_name, 'hm_'))`,
  });
  return rows.map(({ name }) => name);
}
