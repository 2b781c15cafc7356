import type { ForeignKey } from '../sharding/shard-catalog.ts';
import { readKeyCatalog } from './catalog.ts';
import type { Connection } from './connection.ts';
import { relayCopy } from './copy-relay.ts';
import { qualified, quoteIdentifier } from './identifier.ts';
import { statement } from './statement.ts';

/** How copying one reference table ended. */
export interface CopiedTable {
  readonly table: string;
  readonly rows: number;
  /** Whether the target already had as many rows, so that nothing was copied. */
  readonly already: boolean;
}

/** What copying may do. */
export interface CopyOptions {
  /** Tables whose rows on the target are of another time: they give way, unless the target owns a bucket by now. */
  readonly replace?: readonly string[];
  /** Whether writers of the source wait until all is copied. */
  readonly lock?: boolean;
}

/**
 * Copies reference tables to a shard that has none of their rows yet, and before them the tables that their foreign keys need:
 * one snapshot of the source, one transaction on the target, counts compared before the commit. Triggers of users stay silent,
 * since the rows arrive as they are. A target with other rows is refused unless they shall be replaced: it may have been
 * written to. Both sessions have to be the application's, because its functions run in them (in generated columns, for
 * example).
 */
export async function copyReferenceTables(
  source: Connection,
  target: Connection,
  tables: readonly string[],
  { replace = [], lock = false }: CopyOptions = {},
): Promise<CopiedTable[]> {
  return source.transaction(
    async () => {
      if (lock) {
        const names = tables.map((table) => qualified('public', table)).join(', ');
        await source.query({ text: `SET LOCAL lock_timeout = 2000; LOCK TABLE ${names} IN SHARE MODE` });
      }
      return target.transaction(async () => {
        const { foreignKeys } = await readKeyCatalog(target);
        await empty(target, replace, foreignKeys);
        const copied: CopiedTable[] = [];
        for (const table of inKeyOrder(tables, foreignKeys)) {
          copied.push(await copyTable(source, target, table));
        }
        return copied;
      });
    },
    lock ? 'BEGIN ISOLATION LEVEL REPEATABLE READ' : 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
  );
}

/**
 * TRUNCATE refuses a table that another refers to, even an empty one, so that all of these go with it; a row in one of them
 * is somebody's, and keeps everything as it is.
 */
async function empty(
  target: Connection,
  tables: readonly string[],
  foreignKeys: readonly ForeignKey[],
): Promise<void> {
  if (tables.length === 0) return;
  const all = withReferrers(tables, foreignKeys);
  const names = all.map((table) => qualified('public', table)).join(', ');
  await target.query({ text: `LOCK TABLE ${names} IN ACCESS EXCLUSIVE MODE` });
  // Only now: whoever wrote before the lock did so after the shard had got a bucket, which then is seen here.
  const markers = await target.query({ text: 'SELECT FROM herdsman.markers() LIMIT 1' });
  if (markers.length > 0)
    throw new Error('the shard owns buckets by now: its reference tables stay as they are');
  for (const table of all.filter((name) => !tables.includes(name))) {
    const rows = await target.query({ text: `SELECT FROM ${qualified('public', table)} LIMIT 1` });
    if (rows.length > 0) throw new Error(`table "${table}" has rows that refer to reference tables`);
  }
  await target.query({ text: `TRUNCATE ${names}` });
}

/** The tables, and those that refer to them, over any number of steps. */
function withReferrers(tables: readonly string[], keys: readonly ForeignKey[]): string[] {
  const found = new Set(tables);
  for (const table of found) {
    for (const key of keys) {
      if (key.referencedSchema === 'public' && key.referencedTable === table) found.add(key.table);
    }
  }
  return [...found];
}

async function copyTable(source: Connection, target: Connection, table: string): Promise<CopiedTable> {
  const name = qualified('public', table);
  await target.query({ text: `LOCK TABLE ${name} IN SHARE ROW EXCLUSIVE MODE` });
  const expected = await countOf(source, name);
  const present = await countOf(target, name);
  if (present === expected) return { table, rows: expected, already: true };
  if (present > 0) {
    throw new Error(
      `reference table "${table}" has ${present} rows on the new shard and ${expected} on the other: ` +
        'TRUNCATE it there, so that it can be copied',
    );
  }
  const triggers = await triggersOf(target, table);
  for (const trigger of triggers)
    await target.query({ text: `ALTER TABLE ${name} DISABLE TRIGGER ${trigger.name}` });
  const columns = (await columnsOf(source, table)).map(quoteIdentifier).join(', ');
  await relayCopy(source, target, {
    from: `COPY ${name} (${columns}) TO STDOUT (FORMAT binary)`,
    to: `COPY ${name} (${columns}) FROM STDIN (FORMAT binary)`,
  });
  for (const trigger of triggers) {
    await target.query({ text: `ALTER TABLE ${name} ENABLE ${trigger.mode} ${trigger.name}` });
  }
  const rows = await countOf(target, name);
  if (rows === expected) return { table, rows, already: false };
  throw new Error(`reference table "${table}": ${rows} of ${expected} rows arrived`);
}

/** The tables, each after those that it refers to. */
function inKeyOrder(tables: readonly string[], keys: readonly ForeignKey[]): string[] {
  const ordered: string[] = [];
  const visiting = new Set<string>();
  const visit = (name: string) => {
    if (visiting.has(name)) return;
    visiting.add(name);
    for (const key of keys) {
      if (key.table === name && key.referencedSchema === 'public') visit(key.referencedTable);
    }
    ordered.push(name);
  };
  for (const table of tables) visit(table);
  return ordered;
}

interface EnabledTrigger {
  /** Quoted. */
  readonly name: string;
  /** How it was enabled: `TRIGGER`, `ALWAYS TRIGGER` or `REPLICA TRIGGER`. */
  readonly mode: string;
}

async function triggersOf(connection: Connection, table: string): Promise<EnabledTrigger[]> {
  return connection.query<EnabledTrigger>(
    statement(
      `SELECT quote_ident(t.tgname) AS name,
          CASE t.tgenabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' ELSE '' END || 'TRIGGER' AS mode
        FROM pg_trigger t WHERE t.tgrelid = $1::regclass AND NOT t.tgisinternal AND t.tgenabled <> 'D'`,
      qualified('public', table),
    ),
  );
}

async function countOf(connection: Connection, name: string): Promise<number> {
  const [row] = await connection.query<{ count: string }>({ text: `SELECT count(*) AS count FROM ${name}` });
  return Number(row?.count ?? 0);
}

/** Columns that COPY may write: generated ones are computed anew. */
async function columnsOf(connection: Connection, table: string): Promise<string[]> {
  const rows = await connection.query<{ name: string }>(
    statement(
      `SELECT a.attname AS name FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attnum > 0
        AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum`,
      qualified('public', table),
    ),
  );
  return rows.map((row) => row.name);
}
