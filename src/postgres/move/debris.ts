import { movePrefix } from '../../sharding/move/names.ts';
import type { Connection } from '../connection.ts';
import { quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { statement } from '../statement.ts';
import { block } from './context.ts';

/** The eight digits of every move that has left something on a shard, whatever it is, but for what a retention keeps. */
export async function readDebris(connection: Connection): Promise<string[]> {
  const rows = await connection.query<{ id: string }>({
    text: `SELECT DISTINCT substr(n.name, 4, 8) AS id FROM (
        SELECT s.subname::text AS name FROM pg_subscription s
          WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        UNION SELECT r.slot_name::text FROM pg_replication_slots r WHERE r.database = current_database()
        UNION SELECT p.pubname::text FROM pg_publication p
        UNION SELECT o.rolname::text FROM pg_roles o
        UNION SELECT 'hm_' || split_part(m.move, '.', -1) || '_' FROM herdsman.moves m
      ) n WHERE n.name ~ '^hm_[0-9a-f]{8}_' ORDER BY 1`,
  });
  return rows.map(({ id }) => id);
}

/** Takes the subscriptions away that a move that is gone has left on a shard, while the roles are there by which they reach their slots. */
export async function removeSubscriptions(connection: Connection, id: string): Promise<void> {
  for (const { kind, name } of await readNames(connection, movePrefix(id)))
    if (kind === 'subscription') await removeStreamPart(connection, kind, name);
}

/** A slot that PostgreSQL made for the copy of one table, by the OID of its subscription and the system identifier of the subscriber. */
export interface SyncSlot {
  readonly name: string;
  readonly subscription: number;
  readonly system: string;
}

/** Reads the name of one; `undefined` when it is another slot's. */
export function parseSyncSlot(name: string): SyncSlot | undefined {
  const [, subscription, system] = /^pg_([0-9]+)_sync_[0-9]+_([0-9]+)$/.exec(name) ?? [];
  if (subscription === undefined || system === undefined) return undefined;
  return { name, subscription: Number(subscription), system };
}

/** Those of a database that nobody uses now. */
export async function readSyncSlots(connection: Connection): Promise<readonly SyncSlot[]> {
  const rows = await connection.query<{ name: string }>({
    text: `SELECT s.slot_name::text AS name FROM pg_replication_slots s
      WHERE s.database = current_database() AND NOT s.active AND starts_with(s.slot_name, 'pg_')`,
  });
  return rows.flatMap(({ name }) => parseSyncSlot(name) ?? []);
}

/** A server, and the subscriptions of all its databases. */
export interface Subscriber {
  readonly system: string;
  readonly subscriptions: readonly number[];
}

/** Reads them. */
export async function readSubscriber(connection: Connection): Promise<Subscriber | undefined> {
  const [row] = await connection.query<Subscriber>({
    text: `SELECT (SELECT c.system_identifier::text FROM pg_control_system() c) AS system,
      coalesce((SELECT jsonb_agg(s.oid::int8) FROM pg_subscription s), '[]') AS subscriptions`,
  });
  return row;
}

/** Those whose subscriber is known, and has no such subscription any more: nobody will drop them. */
export function orphansOf(slots: readonly SyncSlot[], subscribers: readonly Subscriber[]): SyncSlot[] {
  return slots.filter(({ subscription, system }) =>
    subscribers.some((known) => known.system === system && !known.subscriptions.includes(subscription)),
  );
}

/** Drops a slot, or ends who uses it, so that it can be dropped the next time. */
export async function dropSlot(connection: Connection, name: string): Promise<void> {
  await connection.query(
    statement(
      `SELECT CASE WHEN r.active_pid IS NULL THEN pg_drop_replication_slot(r.slot_name)::text
        ELSE pg_terminate_backend(r.active_pid)::text END FROM pg_replication_slots r WHERE r.slot_name = $1`,
      name,
    ),
  );
}

/** A bucket that a shard owns by the map. */
export interface OwnedBucket {
  readonly group: string;
  readonly bucket: number;
}

/**
 * Takes away what a move that is gone has left on a shard: its stream, and leaves that nobody owns. What has refused writes, and
 * what this shard owns by the map without having the marker, stays as it is for a person to look at: `kept`.
 */
export async function removeDebris(
  connection: Connection,
  id: string,
  owned: readonly OwnedBucket[],
): Promise<'removed' | 'kept'> {
  const names = await readNames(connection, movePrefix(id));
  for (const { kind, name } of names) await removeStreamPart(connection, kind, name);
  await runTogether(connection, [removeLeaves(id, owned)]);
  const left = await connection.query(
    statement("SELECT FROM herdsman.moves m WHERE split_part(m.move, '.', -1) = $1", id),
  );
  return left.length === 0 ? 'removed' : 'kept';
}

type Kind = 'subscription' | 'slot' | 'publication' | 'role';

function readNames(connection: Connection, prefix: string): Promise<{ kind: Kind; name: string }[]> {
  return connection.query(
    statement(
      `SELECT 'subscription' AS kind, s.subname AS name FROM pg_subscription s WHERE starts_with(s.subname, $1)
          AND s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        UNION ALL SELECT 'slot', r.slot_name FROM pg_replication_slots r
          WHERE starts_with(r.slot_name, $1) AND r.database = current_database()
        UNION ALL SELECT 'publication', p.pubname FROM pg_publication p WHERE starts_with(p.pubname, $1)
        UNION ALL SELECT 'role', o.rolname FROM pg_roles o WHERE starts_with(o.rolname, $1)`,
      prefix,
    ),
  );
}

async function removeStreamPart(connection: Connection, kind: Kind, name: string): Promise<void> {
  const quoted = quoteIdentifier(name);
  switch (kind) {
    case 'subscription':
      // Its slot is on another shard, which is swept by itself.
      await connection.query({ text: `ALTER SUBSCRIPTION ${quoted} DISABLE` });
      await connection.query({ text: `ALTER SUBSCRIPTION ${quoted} SET (slot_name = NONE)` });
      await connection.query({ text: `DROP SUBSCRIPTION ${quoted}` });
      return;
    case 'slot':
      return dropSlot(connection, name);
    case 'publication':
      await connection.query({ text: `DROP PUBLICATION IF EXISTS ${quoted}` });
      return;
    case 'role':
      await runTogether(connection, [
        `GRANT ${quoted} TO CURRENT_USER WITH INHERIT TRUE`,
        `DROP OWNED BY ${quoted}`,
        `DROP ROLE ${quoted}`,
      ]);
  }
}

/** PL/pgSQL that drops the leaves that a move made and nobody owns, and has the shard forget the move. */
function removeLeaves(id: string, owned: readonly OwnedBucket[]): string {
  const here = quoteLiteral(JSON.stringify(owned));
  return block(
    `FOR leaf IN
      SELECT c.oid, c.oid::regclass AS name, m.group_name, m.bucket,
          to_regclass(format('own.%I', m.group_name || '_b' || lpad(m.bucket::text, 4, '0'))) IS NOT NULL AS marker,
          pg_partition_root(c.oid) = to_regclass(format('public.%I', t.table_name)) AS attached,
          EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = 'herdsman_refuse') AS refuses,
          EXISTS (SELECT FROM jsonb_to_recordset(${here}::jsonb) AS o("group" text, bucket int)
            WHERE o."group" = m.group_name AND o.bucket = m.bucket) AS mapped,
          pg_get_userbyid(c.relowner) AS owner
        FROM herdsman.moves m JOIN herdsman.tables t ON t.group_name = m.group_name
        JOIN pg_class c ON c.oid = to_regclass(format('public.%I', t.table_name || '_b' || lpad(m.bucket::text, 4, '0')))
        WHERE split_part(m.move, '.', -1) = ${quoteLiteral(id)}
    LOOP
      IF leaf.refuses OR (leaf.mapped AND NOT leaf.marker) THEN RETURN; END IF;
      found := found || to_jsonb(leaf);
    END LOOP;
    FOR leaf IN SELECT * FROM jsonb_to_recordset(found) AS f(name text, attached boolean, marker boolean, owner text) LOOP
      CONTINUE WHEN to_regclass(leaf.name) IS NULL;
      EXECUTE format('SET LOCAL ROLE %I', leaf.owner);
      IF leaf.attached THEN
        EXECUTE format('ALTER TABLE %s RESET (autovacuum_enabled)', leaf.name);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS herdsman_bound', leaf.name);
      ELSIF NOT leaf.marker THEN
        EXECUTE format('DROP TABLE %s', leaf.name);
      END IF;
      RESET ROLE;
    END LOOP;
    FOR leaf IN SELECT p.oid::regprocedure AS name, pg_get_userbyid(p.proowner) AS owner FROM pg_proc p
      WHERE p.pronamespace = 'public'::regnamespace AND starts_with(p.proname, ${quoteLiteral(movePrefix(id))})
    LOOP
      EXECUTE format('SET LOCAL ROLE %I', leaf.owner);
      EXECUTE format('DROP FUNCTION %s', leaf.name);
      RESET ROLE;
    END LOOP;
    DELETE FROM herdsman.moves m WHERE split_part(m.move, '.', -1) = ${quoteLiteral(id)};
    DELETE FROM herdsman.move_sentinels s WHERE s.id = ${quoteLiteral(id)};`,
    `DECLARE leaf record; found jsonb := '[]';`,
  );
}
