import type { Conversion } from '../../sharding/conversion/model.ts';
import { addKey } from '../../sharding/foreign-keys.ts';
import type { Group } from '../../sharding/layout.ts';
import { mirrorRow, upsertMirror } from '../../sharding/mirror.ts';
import { applicationSchema, leafName, markerName } from '../../sharding/names.ts';
import type { ForeignKey } from '../../sharding/shard-catalog.ts';
import { readKeyCatalog } from '../catalog.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { PostgresError } from '../postgres-error.ts';
import { runTogether } from '../run-together.ts';
import {
  asOwner,
  block,
  type ConversionContext,
  type ConversionStep,
  demandPhase,
  done,
  raise,
  setPhase,
} from './context.ts';
import { demandFile } from './copy.ts';
import { newSchema, oldSchema } from './schema.ts';
import { noteTrigger, readTables, sendAutovacuumAway } from './stage.ts';
import { singly, sync, syncStatements } from './sync.ts';
import { carryPublications, findChange, replaceTable, shapeOf, type TableFacts } from './table.ts';

/** How long the switch waits for its locks: everybody who comes meanwhile waits behind it. */
const switchLockMs = 50;
/** Notes that may be left when the switch begins. */
const maxNotes = 500;
/** Rounds of catching up before another pass goes on. */
const maxRounds = 5;

/** What of the plain tables is written down for the way back. */
interface Kept {
  readonly keys: readonly {
    readonly table: string;
    readonly name: string;
    readonly definition: string;
    readonly valid: boolean;
  }[];
  readonly triggers: readonly { readonly table: string; readonly name: string; readonly mode: string }[];
}

/** Brings the other tables up to those that serve, until little is left. */
export async function catchUp(
  connection: Connection,
  { group }: ConversionContext,
  tables: readonly TableFacts[],
  to: string,
): Promise<ConversionStep> {
  let notes = 0;
  for (let round = 0; round < maxRounds; round += 1) {
    notes = await sync(connection, group, tables, to);
    if (notes <= maxNotes) return done;
  }
  return {
    kind: 'waiting',
    reason: 'CatchingUp',
    message: `${notes} changed rows were left after the last round`,
  };
}

/**
 * Step 6, in one transaction: nobody else in the tables, the last changes brought over, and the partitioned tables take the
 * names of the plain ones. Its commit is the point from which the new tables serve; who waited for a lock finds them by name.
 */
export async function switchOver(
  connection: Connection,
  context: ConversionContext,
  conversion: Conversion,
): Promise<ConversionStep> {
  const { group } = context;
  const tables = await readTables(connection, group);
  const changed = await findChange(connection, tables, newSchema);
  if (changed !== undefined) return changed;
  const ready = await prepareSwitch(connection, context, tables, newSchema);
  if (ready.kind !== 'done') return ready;
  const { foreignKeys } = await readKeyCatalog(connection);
  const keys = foreignKeys.filter((key) => group.tables.some(({ name }) => name === key.table));
  const names = tables.map(({ name }) => qualified(applicationSchema, name));
  const owner = tables[0]?.owner ?? '';
  const kept: Kept = {
    keys: tables.flatMap(({ name: table, foreignKeys: foreign }) =>
      foreign.map((key) => ({ table, ...key })),
    ),
    triggers: tables.flatMap(({ name: table, triggers }) =>
      triggers.map(({ name, mode }) => ({ table, name, mode })),
    ),
  };
  return fence(connection, [
    block(demandPhase(group.name, 'verified')),
    ...asOwner(owner, [
      `LOCK TABLE ${[...names, ...referencedBy(keys, group)].join(', ')} IN ACCESS EXCLUSIVE MODE`,
    ]),
    "SELECT set_config('herdsman.fenced_at', clock_timestamp()::text, true)",
    block(demandNoOldSnapshot(group.name)),
    ...conversion.tables.map((table) => block(demandFile(table))),
    block(demandShapes(tables)),
    ...singly,
    ...asOwner(owner, [
      ...syncStatements(tables, newSchema),
      ...tables.flatMap(({ name, foreignKeys: foreign }) => [
        `DROP TRIGGER herdsman_note ON ${qualified(applicationSchema, name)}`,
        ...foreign.map(
          (key) => `ALTER TABLE ${qualified(applicationSchema, name)} DROP CONSTRAINT ${key.name}`,
        ),
      ]),
      ...tables.flatMap((facts) => replaceTable(facts, newSchema, oldSchema)),
      ...tables.flatMap(({ name }) => [
        `ALTER TABLE ${qualified(oldSchema, name)} DISABLE TRIGGER USER`,
        ...noteTrigger(name, false),
      ]),
      ...tables.flatMap((facts) => triggersOf(facts)),
      ...keys.flatMap((key) =>
        context.owned.buckets.map(({ id }) => `${addKey(key, group, id).text} NOT VALID`),
      ),
    ]),
    ...tables.flatMap((facts) => carryPublications(facts, oldSchema)),
    ...viewsOf(tables),
    ...tables.map(({ name }) => block(demandNoDependents(oldSchema, name))),
    ...recordKeys(keys),
    setPhase(
      group.name,
      'switched',
      `, switched_at = clock_timestamp(), kept = ${quoteLiteral(JSON.stringify(kept))}::jsonb || jsonb_build_object('files', ${filesOf(names)}),
        fence_ms = extract(epoch FROM clock_timestamp() - current_setting('herdsman.fenced_at')::timestamptz) * 1000`,
    ),
  ]);
}

/** Waits for what would make writers wait: changes to be brought over, and snapshots that are older than the copies. */
async function prepareSwitch(
  connection: Connection,
  context: ConversionContext,
  tables: readonly TableFacts[],
  to: string,
): Promise<ConversionStep> {
  for (const { name } of tables) {
    // So that the last round finds the few notes it has without reading past those that are gone.
    await connection.query({
      text: `VACUUM (TRUNCATE, INDEX_CLEANUP off) ${qualified('herdsman', `changes_${name}`)}`,
    });
  }
  const caughtUp = await catchUp(connection, context, tables, to);
  if (caughtUp.kind !== 'done') return caughtUp;
  const names = [applicationSchema, to].flatMap((schema) =>
    tables.map(({ name }) => qualified(schema, name)),
  );
  await sendAutovacuumAway(connection, tables[0]?.owner ?? '', names);
  await connection.transaction(() =>
    connection.query({ text: block(demandNoOldSnapshot(context.group.name)) }),
  );
  return done;
}

/** One transaction, which waits for its locks only shortly, and for the standbys that commits wait for. */
async function fence(connection: Connection, statements: readonly string[]): Promise<ConversionStep> {
  const all = ['SET LOCAL synchronous_commit = on', ...statements];
  await runTogether(connection, all, { lockTimeoutMs: switchLockMs });
  return done;
}

/**
 * A snapshot that was taken before the copies were made would not see their rows: such transactions have to end first. One that
 * sits idle with a snapshot (REPEATABLE READ) has to end too.
 */
function demandNoOldSnapshot(group: string): string {
  return `
    IF EXISTS (SELECT FROM pg_stat_activity a, herdsman.conversions c WHERE c.group_name = ${quoteLiteral(group)}
      AND a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
      AND a.backend_xmin IS NOT NULL AND (a.xact_start < coalesce(c.switched_at, c.verified_at) OR a.state LIKE 'idle in transaction%'))
    THEN ${raise('waiting', 'OldSnapshot', 'a transaction has a snapshot from before the copies were made: it has to end first')} END IF;`;
}

function isOutside({ referencedTable }: ForeignKey, group: Group): boolean {
  return !group.tables.some(({ name }) => name === referencedTable);
}

/** Tables outside of the group that its foreign keys refer to. */
function referencedBy(keys: readonly ForeignKey[], group: Group): string[] {
  const outside = keys.filter((key) => isOutside(key, group));
  return [...new Set(outside.map((key) => qualified(key.referencedSchema, key.referencedTable)))];
}

/** PL/pgSQL that raises if a table has other columns than those that the statements were made for. */
function demandShapes(tables: readonly TableFacts[]): string {
  return tables
    .map(
      ({ name, shape }) =>
        `IF ${shapeOf(`${quoteLiteral(qualified(applicationSchema, name))}::regclass`)} IS DISTINCT FROM ${quoteLiteral(shape)} THEN ` +
        `${raise('changed', 'TableChanged', `the columns of table "${name}" have changed`)} END IF;`,
    )
    .join(' ');
}

/** The users' triggers, made anew by their old text, which names the new table by now. */
export function triggersOf({ name, triggers }: TableFacts): string[] {
  return triggers.flatMap((trigger) => [
    trigger.definition,
    ...(trigger.mode === 'ENABLE'
      ? []
      : [`ALTER TABLE ${qualified(applicationSchema, name)} ${trigger.mode} TRIGGER ${trigger.name}`]),
  ]);
}

/** Views of several of the tables come once. */
export function viewsOf(tables: readonly TableFacts[]): string[] {
  const views = new Map(
    tables.flatMap((facts) => facts.views.map((view) => [view.statement, view.owner] as const)),
  );
  return [...views].flatMap(([statement, owner]) => asOwner(owner, [statement]));
}

/** PL/pgSQL that raises if something still reads the table that no longer serves. */
function demandNoDependents(schema: string, name: string): string {
  return `IF EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass
      AND d.refobjid = ${quoteLiteral(qualified(schema, name))}::regclass)
    THEN ${raise('waiting', 'ViewsChanged', `a view of table "${name}" was made meanwhile`)} END IF;`;
}

/** PL/pgSQL that raises unless every bucket is here, and has been all the time. */
function demandEpoch(markers: readonly string[], epoch: string): string {
  const rows = markers.map((marker) => `SELECT m.epoch FROM ${marker} m`).join(' UNION ALL ');
  return `IF (SELECT count(*) FROM (${rows}) x WHERE x.epoch = ${epoch}) <> ${markers.length} THEN
    ${raise('changed', 'BucketsMoved', 'a bucket has been on another shard, and what was written there is not in the plain table')} END IF;`;
}

/** SQL of the files of all leaves of tables, by OID. */
function filesOf(tables: readonly string[]): string {
  return `(SELECT jsonb_object_agg(t.relid::oid::text, pg_relation_filenode(t.relid)::text)
    FROM unnest(ARRAY[${tables.map(quoteLiteral).join(', ')}]::regclass[]) w(root), pg_partition_tree(w.root) t WHERE t.isleaf)`;
}

/**
 * PL/pgSQL that raises if a leaf has been truncated or rewritten since the switch: no row of it is noted then, and the plain table
 * would serve what was there before.
 */
export function demandFiles(group: string): string {
  return `IF EXISTS (SELECT FROM herdsman.conversions c, jsonb_each_text(c.kept -> 'files') f(leaf, file)
      WHERE c.group_name = ${quoteLiteral(group)} AND pg_relation_filenode(f.leaf::oid) IS DISTINCT FROM f.file::oid)
    THEN ${raise('changed', 'Rewritten', `tables of group "${group}" were truncated or rewritten since the switch`)} END IF;`;
}

export function recordKeys(keys: readonly ForeignKey[]): string[] {
  return keys.map(
    (key) =>
      `INSERT INTO herdsman.foreign_keys (table_name, name, definition) VALUES (${quoteLiteral(key.table)}, ` +
      `${quoteLiteral(key.name)}, ${quoteLiteral(JSON.stringify(key))}::jsonb) ` +
      'ON CONFLICT (table_name, name) DO UPDATE SET definition = excluded.definition',
  );
}

/** Step 7: the markers by which the shard owns all buckets, and its rows of the mirror. The map follows them. */
export async function own(
  connection: Connection,
  { group, owned, endpoint }: ConversionContext,
  epoch: number,
): Promise<ConversionStep> {
  const mirror = owned.buckets.map((bucket) => mirrorRow(owned, { ...bucket, epoch }, endpoint));
  await connection.transaction(async () => {
    await connection.query({
      text: [
        block(demandPhase(group.name, 'switched')),
        ...owned.buckets.flatMap(({ id }) => {
          const marker = qualified('own', markerName(group.name, id));
          return [
            `CREATE TABLE ${marker} (bucket int NOT NULL, epoch bigint NOT NULL)`,
            `INSERT INTO ${marker} VALUES (${id}, ${epoch})`,
          ];
        }),
        setPhase(group.name, 'owned', `, epoch = ${epoch}`),
      ].join(';\n'),
    });
    await connection.query(upsertMirror(mirror));
  });
  return done;
}

/**
 * The way back, in one transaction: the plain tables, which were kept in step, serve again. Refused when a bucket has been
 * elsewhere meanwhile, since what was written there was not brought over.
 */
export async function switchBack(
  connection: Connection,
  context: ConversionContext,
): Promise<ConversionStep> {
  const { group, owned } = context;
  const tables = await readTables(connection, group);
  const changed = await findChange(connection, tables, oldSchema);
  if (changed !== undefined) return changed;
  const ready = await prepareSwitch(connection, context, tables, oldSchema);
  if (ready.kind !== 'done') return ready;
  const [row] = await connection.query<{ kept: Kept; epoch: string }>({
    text: `SELECT c.kept, c.epoch FROM herdsman.conversions c WHERE c.group_name = ${quoteLiteral(group.name)}`,
  });
  if (row === undefined)
    throw new PostgresError({ sqlstate: '02000', message: `no conversion of "${group.name}"` });
  const { kept } = row;
  const { recordedKeys } = await readKeyCatalog(connection);
  const keys = recordedKeys.filter((key) => group.tables.some(({ name }) => name === key.table));
  const here = await connection.query<{ name: string }>({ text: 'SELECT m.name FROM herdsman.markers() m' });
  const missing = owned.buckets.find(
    ({ id }) => !here.some(({ name }) => name === markerName(group.name, id)),
  );
  if (missing !== undefined) {
    const message = `bucket ${missing.id} is on another shard, and what was written there is not in the plain table`;
    return { kind: 'changed', reason: 'BucketsMoved', message };
  }
  const markers = owned.buckets.map(({ id }) => qualified('own', markerName(group.name, id)));
  const names = tables.map(({ name }) => qualified(applicationSchema, name));
  const owner = tables[0]?.owner ?? '';
  return fence(connection, [
    block(demandPhase(group.name, 'settled')),
    `LOCK TABLE ${markers.join(', ')} IN ACCESS EXCLUSIVE MODE`,
    ...asOwner(owner, [
      `LOCK TABLE ${[...names, ...referencedBy(keys, group)].join(', ')} IN ACCESS EXCLUSIVE MODE`,
    ]),
    block(demandEpoch(markers, row.epoch)),
    block(demandFiles(group.name)),
    block(demandNoOldSnapshot(group.name)),
    block(demandShapes(tables)),
    ...singly,
    ...asOwner(owner, [
      ...syncStatements(tables, oldSchema),
      ...tables.map(({ name }) => `DROP TRIGGER herdsman_note ON ${qualified(applicationSchema, name)}`),
      ...tables.flatMap((facts) => replaceTable(facts, oldSchema, newSchema)),
      ...kept.triggers.map(
        ({ table, name, mode }) =>
          `ALTER TABLE ${qualified(applicationSchema, table)} ${mode} TRIGGER ${name}`,
      ),
      // They would go on holding on to rows of other tables.
      ...keys
        .filter((key) => isOutside(key, group))
        .flatMap((key) =>
          owned.buckets.map(
            ({ id }) =>
              `ALTER TABLE ${qualified(applicationSchema, leafName(key.table, id))} DROP CONSTRAINT IF EXISTS ${quoteIdentifier(key.name)}`,
          ),
        ),
      ...kept.keys.map(
        ({ table, name, definition }) =>
          `ALTER TABLE ${qualified(applicationSchema, table)} ADD CONSTRAINT ${name} ${definition} NOT VALID`,
      ),
    ]),
    ...tables.flatMap((facts) => carryPublications(facts, newSchema)),
    ...viewsOf(tables),
    ...tables.map(({ name }) => block(demandNoDependents(newSchema, name))),
    `DELETE FROM herdsman.foreign_keys WHERE table_name IN (${tables.map(({ name }) => quoteLiteral(name)).join(', ')})`,
    `DELETE FROM herdsman.tables WHERE group_name = ${quoteLiteral(group.name)}`,
    `DELETE FROM herdsman.shard_map WHERE group_name = ${quoteLiteral(group.name)}`,
    `DROP TABLE ${markers.join(', ')}`,
    setPhase(group.name, 'reverted'),
  ]);
}
