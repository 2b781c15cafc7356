import { isReshape } from '../../sharding/move/buckets.ts';
import type { Obstacle } from '../../sharding/move/model.ts';
import { applicationSchema, hasPlace, placeName } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified } from '../identifier.ts';
import { statement } from '../statement.ts';
import { leavesOf, type MoveContext, type Side } from './context.ts';

interface Server {
  readonly walLevel: string;
  readonly preparedMax: number;
  readonly prepared: number;
  readonly slotsMax: number;
  readonly slots: number;
  readonly workersMax: number;
  readonly standbysMissing: boolean;
  readonly ledger: string;
  readonly installed: boolean;
}

const serverQuery = `
SELECT current_setting('wal_level') AS "walLevel",
  current_setting('max_prepared_transactions')::int AS "preparedMax",
  (SELECT count(*)::int FROM pg_prepared_xacts) AS prepared,
  current_setting('max_replication_slots')::int AS "slotsMax",
  (SELECT count(*)::int FROM pg_replication_slots) AS slots,
  current_setting('max_logical_replication_workers')::int AS "workersMax",
  current_setting('synchronous_standby_names') <> '' AND NOT EXISTS (
    SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS "standbysMissing",
  coalesce((SELECT string_agg(l.name || ':' || l.checksum, ',' ORDER BY l.position) FROM herdsman.migrations l), '') AS ledger,
  to_regclass('herdsman.moves') IS NOT NULL AS installed`;

/** Step 0: what is in the way of a move, before anything is made. */
export async function findObstacles(context: MoveContext): Promise<Obstacle[]> {
  const { move } = context;
  const read = (side: Side) =>
    context.use(side, async (connection) => (await connection.query<Server>({ text: serverQuery }))[0]);
  const [source, target] = await Promise.all([read('source'), read('target')]);
  if (source === undefined || target === undefined) return [];
  const obstacles = [...serverObstacles(move.from, source), ...serverObstacles(move.to, target)];
  if (source.ledger !== target.ledger) {
    obstacles.push({
      code: 'MigrationInFlight',
      message: 'the two shards have not applied the same migrations yet',
      permanent: false,
    });
  }
  obstacles.push(...(await context.use('source', (connection) => sourceObstacles(connection, context))));
  obstacles.push(...(await context.use('target', (connection) => targetObstacles(connection, context))));
  return obstacles;
}

function serverObstacles(shard: string, server: Server): Obstacle[] {
  const obstacles: Obstacle[] = [];
  const add = (code: string, permanent: boolean, message: string) =>
    obstacles.push({ code, permanent, message: `shard ${shard}: ${message}` });
  if (!server.installed) add('SchemaOutdated', false, 'its schema is being brought up to this version');
  if (server.walLevel !== 'logical') add('WalLevel', true, 'wal_level is not logical');
  if (server.preparedMax === 0)
    add('NoPreparedTransactions', true, 'set max_prepared_transactions to 50 or more');
  else if (server.prepared >= server.preparedMax) {
    add('NoPreparedTransactions', false, 'all max_prepared_transactions are in use');
  }
  // One for the stream, one for each table that is being copied (two at a time), one spare.
  if (server.slots + 4 > server.slotsMax) {
    add(
      'NoReplicationSlots',
      false,
      `${server.slots} of max_replication_slots = ${server.slotsMax} are in use`,
    );
  }
  if (server.workersMax < 4) add('NoWorkers', true, 'set max_logical_replication_workers to 4 or more');
  if (server.standbysMissing) add('NoSynchronousStandby', false, 'no standby confirms commits');
  return obstacles;
}

async function sourceObstacles(connection: Connection, context: MoveContext): Promise<Obstacle[]> {
  const obstacles: Obstacle[] = [];
  for (const leaf of leavesOf(context, 'source')) {
    const [row] = await connection.query<{ attached: boolean; identity: boolean; unlogged: boolean }>(
      statement(
        `SELECT c.relispartition AS attached, c.relpersistence <> 'p' AS unlogged,
            EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid) AS identity
          FROM pg_class c WHERE c.oid = to_regclass($1)`,
        leaf.qualified,
      ),
    );
    if (row?.attached !== true) {
      const message = `shard ${context.move.from} does not have ${leaf.name} yet`;
      obstacles.push({ code: 'LeafMissing', message, permanent: false });
    } else if (!row.identity) {
      const message = `table "${leaf.table}" has no primary key, by which changes are found on the target: add one`;
      obstacles.push({ code: 'NoPrimaryKey', message, permanent: true });
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
