import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { partitionedVersion } from '../../sharding/import/problems.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { done, type ConversionStep as ImportStep } from '../conversion/context.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { statement } from '../statement.ts';
import { movedState } from './schema.ts';

/** How long the fence waits for each of its locks: everybody who comes meanwhile waits behind it. */
const fenceLockMs = 100;
/** How long a walsender may take to leave its slot. */
const releaseMs = 10_000;

/** Makes the publication and the slot; a slot that has lost its WAL, and those of an earlier attempt, go first. */
export async function publish(
  connection: Connection,
  name: string,
  tables: readonly string[],
  earlier: number | null,
): Promise<void> {
  const [server] = await connection.query<{ version: number; published: boolean }>(
    statement(
      `SELECT current_setting('server_version_num')::int AS version,
        EXISTS (SELECT FROM pg_publication p WHERE p.pubname = $1) AS published`,
      name,
    ),
  );
  await dropSlots(connection, copySlots(earlier));
  if (server?.published !== true) {
    const list = tables.map((table) => qualified(applicationSchema, table)).join(', ');
    const root =
      (server?.version ?? 0) < partitionedVersion ? '' : ' WITH (publish_via_partition_root = true)';
    await connection.query({
      text: `CREATE PUBLICATION ${quoteIdentifier(name)} FOR TABLE ${list}${root}`,
    });
  }
  const [slot] = await connection.query<{ lost: boolean }>(
    statement(
      `SELECT coalesce(to_jsonb(s) ->> 'wal_status', '') = 'lost' OR s.database <> current_database() AS lost
        FROM pg_replication_slots s WHERE s.slot_name = $1`,
      name,
    ),
  );
  if (slot?.lost === true) await dropSlots(connection, [name]);
  if (slot?.lost !== false)
    await connection.query(statement("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name));
}

/**
 * From its commit on the server acknowledges no write of the tables, whoever writes and however; reads go on. The triggers wait for
 * writers under way. Answers the place in the WAL behind which none is.
 */
export async function fence(
  connection: Connection,
  name: string,
  tables: readonly string[],
  destination: string,
): Promise<string> {
  const schema = quoteIdentifier(name);
  const rowTrigger = quoteIdentifier(`${name}_row`);
  const message = `table "%" has moved to ${destination}: this server takes no more writes of it`;
  await runTogether(
    connection,
    [
      'SET LOCAL synchronous_commit = on',
      lockFence(name),
      // Whoever was held up until the import was given up keeps nobody out.
      `DO $herdsman$ BEGIN IF NOT EXISTS (SELECT FROM pg_publication p WHERE p.pubname = ${quoteLiteral(name)}) THEN
          RAISE EXCEPTION 'the publication of the import is gone'; END IF; END $herdsman$`,
      `CREATE SCHEMA IF NOT EXISTS ${schema}`,
      `CREATE OR REPLACE FUNCTION ${schema}.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $herdsman$
          BEGIN RAISE EXCEPTION ${quoteLiteral(message)}, TG_TABLE_NAME USING ERRCODE = '${movedState}'; END $herdsman$`,
      // Whoever writes to a partition by its own name has to be stopped there.
      `DO $herdsman$ DECLARE r record; BEGIN
          FOR r IN ${treeQuery(tables)} LOOP
            EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', r.name);
          END LOOP;
          FOR r IN ${treeQuery(tables)} LOOP
            IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgname = ${quoteLiteral(name)}) THEN CONTINUE; END IF;
            EXECUTE format('CREATE TRIGGER ${schema} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
              FOR EACH STATEMENT EXECUTE PROCEDURE ${schema}.refuse()', r.name);
            EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER ${schema}', r.name);
            -- What a subscription of the server's own brings in is no statement.
            IF r.has_rows THEN
              EXECUTE format('CREATE TRIGGER ${rowTrigger} BEFORE INSERT OR UPDATE OR DELETE ON %s
                FOR EACH ROW EXECUTE PROCEDURE ${schema}.refuse()', r.name);
              EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER ${rowTrigger}', r.name);
            END IF;
          END LOOP;
        END $herdsman$`,
      markFence(name),
    ],
    { lockTimeoutMs: fenceLockMs },
  );
  const [row] = await connection.query<{ lsn: string }>({
    text: 'SELECT pg_current_wal_insert_lsn()::text AS lsn',
  });
  // Something behind that place, so that the stream goes past it.
  await connection.query(statement("SELECT pg_logical_emit_message(true, $1, 'fenced')", name));
  return row?.lsn ?? '';
}

function treeQuery(tables: readonly string[]): string {
  const names = tables.map(quoteLiteral).join(', ');
  return `WITH RECURSIVE tree(oid) AS (
    SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname IN (${names})
    UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid)
    SELECT c.oid, c.oid::regclass AS name, c.relkind = 'r' AS has_rows FROM tree JOIN pg_class c ON c.oid = tree.oid
    ORDER BY c.oid::regclass::text`;
}

function lockFence(name: string): string {
  return `SELECT pg_advisory_xact_lock(hashtext(${quoteLiteral(name)}))`;
}

function markFence(name: string): string {
  return `COMMENT ON SCHEMA ${quoteIdentifier(name)} IS ${quoteLiteral(randomUUID())}`;
}

/** PL/pgSQL that does something while the fence is the one that was seen. */
function ifSame(name: string, token: string | null, work: string, otherwise = ''): string {
  const seen = token === null ? 'NULL' : quoteLiteral(token);
  return `DO $herdsman$ BEGIN IF (SELECT obj_description(n.oid, 'pg_namespace') FROM pg_namespace n WHERE n.nspname = ${quoteLiteral(name)})
      IS NOT DISTINCT FROM ${seen} THEN ${work}; ${otherwise === '' ? '' : `ELSE ${otherwise};`} END IF; END $herdsman$`;
}

/**
 * Keeps the fence for good from whoever has seen it until now and may still be about to take it away: an operator that was held up,
 * whose successor lets the cluster take over.
 */
export async function keepFence(connection: Connection, name: string, token: string | null): Promise<void> {
  const gone = "RAISE EXCEPTION 'somebody else has changed what keeps writers out'";
  await runTogether(connection, [lockFence(name), ifSame(name, token, markFence(name), gone)]);
}

/** The server takes writes again, if the fence is the one that was seen. */
export async function unfence(connection: Connection, name: string, token: string | null): Promise<void> {
  await runTogether(connection, [lockFence(name), ifSame(name, token, dropText(name))]);
}

/** The server takes writes again, whatever keeps them out: the import is given up. */
export async function dropFence(connection: Connection, name: string): Promise<void> {
  await connection.query({ text: dropText(name) });
}

function dropText(name: string): string {
  return `DROP SCHEMA IF EXISTS ${quoteIdentifier(name)} CASCADE`;
}

/** Takes the publication and all slots of the import away. */
export async function release(
  connection: Connection,
  name: string,
  subscription: number | null,
): Promise<ImportStep> {
  const left = await dropSlots(connection, [name, ...copySlots(subscription)]);
  await connection.query({ text: `DROP PUBLICATION IF EXISTS ${quoteIdentifier(name)}` });
  if (left.length === 0) return done;
  const message = `the replication slot "${left.join(', ')}" is still in use at the server`;
  return { kind: 'waiting', reason: 'SlotInUse', message };
}

/** How the names of slots begin by which a subscription copies tables. */
function copySlots(subscription: number | null): string[] {
  return subscription === null ? [] : [`pg_${subscription}_sync_`];
}

interface Slot {
  readonly name: string;
  readonly pid: number | null;
}

/** Drops slots that are named so, or begin so; who uses one of them is ended. Answers those that are left. */
async function dropSlots(connection: Connection, names: readonly string[]): Promise<string[]> {
  for (let waited = 0; ; waited += 100) {
    const slots = await connection.query<Slot & Record<string, unknown>>(
      statement(
        `SELECT s.slot_name AS name, s.active_pid AS pid FROM pg_replication_slots s, unnest($1::text[]) n(name)
          WHERE s.slot_type = 'logical' AND (s.slot_name = n.name OR (right(n.name, 1) = '_' AND left(s.slot_name, length(n.name)) = n.name))`,
        names,
      ),
    );
    if (slots.length === 0) return [];
    for (const { name, pid } of slots) {
      if (pid !== null) await connection.query(statement('SELECT pg_terminate_backend($1)', pid));
      // Its walsender may come back between the two.
      await connection.query(
        statement(
          `SELECT pg_drop_replication_slot(s.slot_name) FROM pg_replication_slots s WHERE s.slot_name = $1 AND NOT s.active`,
          name,
        ),
      );
    }
    if (waited >= releaseMs) return slots.map(({ name }) => name);
    await sleep(100);
  }
}
