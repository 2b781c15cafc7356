import { isReshape } from '../../sharding/move/buckets.ts';
import type { Move, Obstacle } from '../../sharding/move/model.ts';
import { applicationSchema, hasPlace, placeName } from '../../sharding/names.ts';
import {
  freeRoom,
  mebibytes,
  neededRoom,
  roomFactor,
  usableVolume,
  type Volume,
  wayToRoom,
} from '../../sharding/room.ts';
import type { Connection } from '../connection.ts';
import { qualified } from '../identifier.ts';
import { statement } from '../statement.ts';
import { usedBytes } from '../used-bytes.ts';
import { leavesOf, type MoveContext, type Side } from './context.ts';

interface Server {
  readonly walLevel: string;
  readonly preparedMax: number;
  readonly prepared: number;
  readonly slotsMax: number;
  readonly slots: number;
  readonly origins: number;
  readonly sendersMax: number;
  readonly senders: number;
  readonly workersMax: number;
  readonly workers: number;
  readonly standbysMissing: boolean;
  readonly ledger: string;
  /** Rows of `herdsman.tables` and of `herdsman.shard_map`. */
  readonly tables: number;
  readonly buckets: number;
  readonly installed: boolean;
  /** Databases and WAL. */
  readonly used: number;
}

const serverQuery = `
SELECT current_setting('wal_level') AS "walLevel",
  current_setting('max_prepared_transactions')::int AS "preparedMax",
  (SELECT count(*)::int FROM pg_prepared_xacts) AS prepared,
  current_setting('max_replication_slots')::int AS "slotsMax",
  (SELECT count(*)::int FROM pg_replication_slots) AS slots,
  (SELECT count(*)::int FROM pg_subscription) AS origins,
  current_setting('max_wal_senders')::int AS "sendersMax",
  (SELECT count(*)::int FROM pg_stat_replication) AS senders,
  least(current_setting('max_logical_replication_workers')::int, current_setting('max_worker_processes')::int) AS "workersMax",
  (SELECT count(*)::int FROM pg_stat_subscription WHERE pid IS NOT NULL) AS workers,
  current_setting('synchronous_standby_names') <> '' AND NOT EXISTS (
    SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS "standbysMissing",
  coalesce((SELECT string_agg(l.name || ':' || l.checksum, ',' ORDER BY l.position) FROM herdsman.migrations l), '') AS ledger,
  (SELECT count(*)::int FROM herdsman.tables) AS tables, (SELECT count(*)::int FROM herdsman.shard_map) AS buckets,
  EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass('herdsman.moves') AND a.attname = 'shapes') AS installed,
  ${usedBytes} AS used`;

/** Step 0: what is in the way of a move, before anything is made. */
export async function findObstacles(context: MoveContext): Promise<Obstacle[]> {
  const { move, volumes } = context;
  const read = (side: Side) =>
    context.use(side, async (connection) => (await connection.query<Server>({ text: serverQuery }))[0]);
  const [source, target] = await Promise.all([read('source'), read('target')]);
  if (source === undefined || target === undefined) return [];
  const obstacles = [
    ...serverObstacles(move.from, source, 'source'),
    ...serverObstacles(move.to, target, 'target'),
  ];
  if (source.ledger !== target.ledger) {
    obstacles.push({
      code: 'MigrationInFlight',
      message: 'the two shards have not applied the same migrations yet',
      permanent: false,
    });
  }
  // Whoever follows a bucket there asks there for all others; and the map comes after the rows of reference tables.
  if (target.tables < source.tables || target.buckets < source.buckets) {
    obstacles.push({
      code: 'MapIncomplete',
      message: `shard ${move.to} does not know yet where all buckets are`,
      permanent: false,
    });
  }
  obstacles.push(...(await context.use('source', (connection) => sourceObstacles(connection, context))));
  obstacles.push(...(await context.use('target', (connection) => targetObstacles(connection, context))));
  const size = await context.use('source', (connection) => sizeOf(connection, context));
  const disk =
    volumes === undefined
      ? undefined
      : diskObstacle(move.to, size * copiesOn(move), target.used, volumes.target);
  return disk === undefined ? obstacles : [...obstacles, disk];
}

function serverObstacles(shard: string, server: Server, side: Side): Obstacle[] {
  const obstacles: Obstacle[] = [];
  const add = (code: string, permanent: boolean, message: string) =>
    obstacles.push({ code, permanent, message: `shard ${shard}: ${message}` });
  /** Whether a move needs more of something than is free; what is in use now may be free later. */
  const need = (code: string, setting: string, used: number, max: number, needed: number) => {
    if (used + needed <= max) return;
    if (max < needed)
      add(
        code,
        true,
        `${setting} is ${max}, and a move needs ${needed}: raise it in spec.postgres.parameters`,
      );
    else {
      const message = `${used} of ${setting} = ${max} are in use, and a move needs ${needed} more: raise it, or end what uses them`;
      add(code, false, message);
    }
  };
  if (!server.installed) add('SchemaOutdated', false, 'its schema is being brought up to this version');
  if (server.walLevel !== 'logical')
    add(
      'WalLevel',
      true,
      `wal_level is ${server.walLevel}: run ALTER SYSTEM RESET wal_level there, and restart it`,
    );
  need('NoPreparedTransactions', 'max_prepared_transactions', server.prepared, server.preparedMax, 1);
  if (side === 'source') {
    need('NoReplicationSlots', 'max_replication_slots', server.slots, server.slotsMax, 1);
    // One makes the slot, the other sends the stream.
    need('NoWalSenders', 'max_wal_senders', server.senders, server.sendersMax, 2);
  } else {
    // An origin of replication is counted as a slot.
    need('NoReplicationSlots', 'max_replication_slots', server.origins, server.slotsMax, 1);
    need('NoWorkers', 'max_logical_replication_workers', server.workers, server.workersMax, 1);
  }
  if (server.standbysMissing) add('NoSynchronousStandby', false, 'no standby confirms commits');
  return obstacles;
}

/** Size of what moves, with indexes and TOAST. */
async function sizeOf(connection: Connection, context: MoveContext): Promise<number> {
  const names = leavesOf(context, 'source').map((leaf) => leaf.qualified);
  const [row] = await connection.query<{ bytes: number }>({
    text: `SELECT coalesce(sum(pg_total_relation_size(to_regclass(n))), 0)::float8 AS bytes FROM unnest($1::text[]) n`,
    values: [names],
  });
  return row?.bytes ?? 0;
}

/** What changes are found by while buckets become one is kept beside the rows. */
function copiesOn(move: Move): number {
  return isReshape(move) && move.parents.length > 1 ? 2 : 1;
}

/** The target needs room for what is written there, and a tenth of its volume has to stay free. */
export function diskObstacle(
  shard: string,
  size: number,
  used: number,
  volume: Volume,
): Obstacle | undefined {
  const free = Math.max(0, volume.bytes - used);
  const needed = roomFactor * size + (1 - usableVolume) * volume.bytes;
  if (needed <= free) return undefined;
  const message =
    `shard ${shard} has ${freeRoom(free)} of ${mebibytes(volume.bytes)} free, and the move needs ${neededRoom(needed)} ` +
    `(${roomFactor} times what is written there, and a tenth of the volume): ${wayToRoom(volume)}, or move less`;
  return { code: 'DiskTooSmall', message, permanent: false };
}

interface Identity {
  readonly attached: boolean;
  readonly unlogged: boolean;
  /** Whether there is a primary key, whether it is DEFERRABLE or has a generated column, and whether the rows are not to be told by it. */
  readonly key: boolean;
  readonly deferrable: boolean;
  readonly generated: boolean;
  readonly nothing: boolean;
}

async function sourceObstacles(connection: Connection, context: MoveContext): Promise<Obstacle[]> {
  const obstacles: Obstacle[] = [];
  for (const leaf of leavesOf(context, 'source')) {
    const [row] = await connection.query<Identity>(
      statement(
        `SELECT c.relispartition AS attached, c.relpersistence <> 'p' AS unlogged,
            i.indexrelid IS NOT NULL AS key, coalesce(NOT i.indimmediate, false) AS deferrable,
            EXISTS (SELECT FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.attgenerated <> '') AS generated,
            c.relreplident = 'n' OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_index r
              WHERE r.indrelid = c.oid AND r.indisreplident AND r.indkey::int2[] @> i.indkey::int2[]) AS nothing
          FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary AND i.indisvalid WHERE c.oid = to_regclass($1)`,
        leaf.qualified,
      ),
    );
    if (row?.attached !== true) {
      const message = `shard ${context.move.from} does not have ${leaf.name} yet`;
      obstacles.push({ code: 'LeafMissing', message, permanent: false });
    } else if (!row.key) {
      const message = `table "${leaf.table}" has no primary key, by which changes are found on the target: add one`;
      obstacles.push({ code: 'NoPrimaryKey', message, permanent: true });
    } else if (row.deferrable) {
      const message =
        `the primary key of table "${leaf.table}" is DEFERRABLE, and changes cannot be found by it on the target: ` +
        'make it NOT DEFERRABLE';
      obstacles.push({ code: 'DeferrableKey', message, permanent: true });
    } else if (row.generated) {
      const message =
        `the primary key of table "${leaf.table}" has a generated column, which PostgreSQL 17 does not send: ` +
        'write it as an ordinary column, filled by a trigger';
      obstacles.push({ code: 'GeneratedKey', message, permanent: true });
    } else if (row.nothing) {
      // Once it is published, PostgreSQL would refuse the application's UPDATE and DELETE.
      const message =
        `${leaf.name} has a REPLICA IDENTITY without the primary key, so that changes do not say of which row they are: ` +
        `ALTER TABLE ${leaf.qualified} REPLICA IDENTITY DEFAULT`;
      obstacles.push({ code: 'NoReplicaIdentity', message, permanent: true });
    } else if (row.unlogged) {
      const message = `table "${leaf.table}" is unlogged, so that its changes are not in the WAL: SET LOGGED`;
      obstacles.push({ code: 'Unlogged', message, permanent: true });
    }
  }
  return obstacles;
}

/** Parents of the leaves, and the places that keep keys of other buckets out of a DEFAULT; but for those that the move makes. */
function neededTables(context: MoveContext): string[] {
  const { move, owned, group } = context;
  const parents = leavesOf(context, 'target').filter(
    ({ bucket }) => !isReshape(move) || !hasPlace(bucket, owned),
  );
  const places = move.children.some(({ isDefault }) => isDefault === true) ? owned.buckets : [];
  return [
    ...new Set([
      ...parents.map(({ parent }) => parent),
      ...places
        .filter((bucket) => hasPlace(bucket, owned))
        .flatMap(({ id }) =>
          group.tables.map(({ name }) => qualified(applicationSchema, placeName(name, id))),
        ),
    ]),
  ];
}

async function targetObstacles(connection: Connection, context: MoveContext): Promise<Obstacle[]> {
  const { move } = context;
  const obstacles: Obstacle[] = [];
  const needed = await connection.query<{ name: string }>(
    statement(
      'SELECT w.name FROM unnest($1::text[]) w(name) WHERE to_regclass(w.name) IS NULL',
      neededTables(context),
    ),
  );
  for (const { name } of needed) {
    obstacles.push({
      code: 'ParentMissing',
      message: `shard ${move.to} does not have ${name} yet`,
      permanent: false,
    });
  }
  const missing = await connection.query<{ name: string }>({
    text: `SELECT t.table_name AS name FROM herdsman.tables t WHERE t.strategy = 'reference'
      AND to_regclass(format('public.%I', t.table_name)) IS NULL`,
  });
  for (const { name } of missing) {
    const message = `shard ${move.to} does not have reference table "${name}" yet`;
    obstacles.push({ code: 'ReferenceTableMissing', message, permanent: false });
  }
  return obstacles;
}
