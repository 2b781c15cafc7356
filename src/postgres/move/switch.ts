import { setTimeout as sleep } from 'node:timers/promises';
import type { BucketBound } from '../../api/v1alpha1/shard-map.ts';
import { boundClause } from '../../sharding/bound-clause.ts';
import { mirrorRow, upsertMirror } from '../../sharding/mirror.ts';
import { isReshape } from '../../sharding/move/buckets.ts';
import type { MoveView, Step, StepResult } from '../../sharding/move/model.ts';
import { gidOf } from '../../sharding/move/names.ts';
import type { Connection } from '../connection.ts';
import { quoteLiteral } from '../identifier.ts';
import { diskFull, isRetryable, PostgresError } from '../postgres-error.ts';
import { statement } from '../statement.ts';
import {
  asOwner,
  block,
  demandGuard,
  done,
  guardCondition,
  leavesOf,
  type MoveContext,
  markerOf,
  ownerOf,
  refusal,
  refused,
  type Side,
} from './context.ts';
import { leaveIntakes } from './intake.ts';
import { catchUp } from './sentinel.ts';
import { demandUnchanged, refusalOfChange } from './table-change.ts';

/** How long the fence waits for its locks: writers that come meanwhile wait behind it. */
const fenceLockMs = 50;
/** How long the target's half waits; nobody waits behind it. */
const openLockMs = 1_000;
/** How long its rehearsal waits: less than what the stream, which waits for it in turn, takes to look for a deadlock. */
const rehearsalLockMs = 100;
/** How long to wait for the standbys at the gate. */
const gateMs = 1_000;

type Of<K extends Step['kind']> = Extract<Step, { kind: K }>;

/**
 * Allows an attempt on both shards, unless it is over there. Then the target's half is done and rolled back: what it is refused for
 * comes out before any writer has waited, and the second time it is quick.
 */
export async function arm(context: MoveContext, { attempt }: Of<'arm'>, copy: number): Promise<StepResult> {
  const caughtUp = await catchUp(context, copy);
  if (caughtUp.kind === 'refused') return caughtUp;
  await onBoth(context, (connection) =>
    connection.query({
      text: `UPDATE herdsman.moves m SET attempt = ${attempt}, armed = true WHERE ${guardCondition(context)} AND m.attempt < ${attempt}`,
    }),
  );
  await context.use('source', (connection) => ownerOf(connection, context, 'source'));
  return rehearse(context, attempt);
}

async function rehearse(context: MoveContext, attempt: number): Promise<StepResult> {
  return context.use('target', async (connection) => {
    const owner = await ownerOf(connection, context, 'target');
    const parts = openParts(context, owner, attempt, 1);
    try {
      await connection.query({ text: [...beginning(rehearsalLockMs), ...parts, 'ROLLBACK'].join(';\n') });
      return done;
    } catch (error) {
      if (!connection.closed) await connection.query({ text: 'ROLLBACK' });
      // Changes come in all the while, and have the leaves locked in an order of their own.
      if (isRetryable(error)) return done;
      if (!(error instanceof PostgresError) || [refusal, diskFull].includes(error.sqlstate)) throw error;
      return { kind: 'refused', reason: 'Refused', message: error.message, ends: 'copy' };
    }
  });
}

/** Forbids an attempt and all before it. A prepared transaction of one keeps this waiting. */
export async function disarm(context: MoveContext, { attempt }: Of<'disarm'>): Promise<StepResult> {
  return onBoth(context, (connection) =>
    connection.query({
      text: `UPDATE herdsman.moves m SET attempt = greatest(m.attempt, ${attempt}), armed = false WHERE ${guardCondition(context)}`,
    }),
  );
}

async function onBoth(
  context: MoveContext,
  work: (connection: Connection) => Promise<unknown>,
): Promise<StepResult> {
  for (const side of ['source', 'target'] as const) {
    await context.use(side, (connection) =>
      connection.transaction(async () => {
        await connection.query({ text: 'SET LOCAL lock_timeout = 500' });
        await work(connection);
      }),
    );
  }
  return done;
}

/**
 * Step 6: marker gone, every leaf refusing writes, the mirror pointing to the target; prepared. The marker comes first: who
 * has read it is waited for, and who comes later waits. Then no migration can change the leaves any more: one that did is found.
 */
export async function fence(
  context: MoveContext,
  step: Of<'fence'>,
  { map }: Pick<MoveView, 'map'>,
): Promise<StepResult> {
  const { move, group } = context;
  const markers = move.parents.map((bucket) => markerOf(context, bucket));
  // A trigger of a bucket that is no more names one that the target has in its place.
  const argument = ({ id }: BucketBound) => {
    const heir = move.children.find((child) => child.id === id) ?? move.children[0];
    return `${quoteLiteral(group.name)}, ${quoteLiteral(String(heir?.id ?? id))}`;
  };
  const triggers = leavesOf(context, 'source').map(
    (leaf) =>
      `CREATE TRIGGER herdsman_refuse BEFORE INSERT OR UPDATE OR DELETE ON ${leaf.qualified} FOR EACH ROW ` +
      `EXECUTE FUNCTION herdsman.refuse_row(${argument(leaf.bucket)}); ` +
      `CREATE TRIGGER herdsman_refuse_truncate BEFORE TRUNCATE ON ${leaf.qualified} FOR EACH STATEMENT ` +
      `EXECUTE FUNCTION herdsman.refuse_row(${argument(leaf.bucket)})`,
  );
  return context.use('source', async (connection) => {
    const owner = await ownerOf(connection, context, 'source');
    const take = block(
      `${demandGuard(context, `m.attempt = ${step.attempt} AND m.armed`, 'FOR SHARE')}
      LOCK TABLE ${markers.join(', ')} IN ACCESS EXCLUSIVE MODE;
      SELECT max(epoch) INTO marked FROM (${markers.map((marker) => `SELECT epoch FROM ${marker}`).join(' UNION ALL ')}) m;
      IF marked IS DISTINCT FROM ${step.from} THEN
        RAISE EXCEPTION 'the marker says epoch %, not ${step.from}', marked USING ERRCODE = '${refusal}';
      END IF;
      DROP TABLE ${markers.join(', ')};`,
      'DECLARE marked bigint;',
    );
    const gid = gidOf({ id: move.id, attempt: step.attempt, side: 'fence', epoch: step.epoch });
    // One that is made anew when the map has decided fences what nobody needs any more.
    const isDecided = map !== 'unknown' && map.owner === move.to;
    const check = isDecided ? [] : [demandUnchanged(context)];
    const parts = [take, ...asOwner(owner, triggers), ...check, mirror(context, step.epoch)];
    try {
      return await prepare(connection, gid, parts, fenceLockMs);
    } catch (error) {
      const change = refusalOfChange(error);
      if (change === undefined) throw error;
      return change;
    }
  });
}

/** Step 8: the target's leaves attached, its marker and its mirror's row made; prepared. */
export async function open(context: MoveContext, step: Of<'open'>): Promise<StepResult> {
  const gid = gidOf({ id: context.move.id, attempt: step.attempt, side: 'open', epoch: step.epoch });
  return context.use('target', async (connection) => {
    const owner = await ownerOf(connection, context, 'target');
    return prepare(connection, gid, openParts(context, owner, step.attempt, step.epoch), openLockMs);
  });
}

function openParts(context: MoveContext, owner: string, attempt: number, epoch: number): string[] {
  const attach = leavesOf(context, 'target').map(
    (leaf) => `ALTER TABLE ${leaf.parent} ATTACH PARTITION ${leaf.qualified} ${boundClause(leaf.bucket)}`,
  );
  const markers = context.move.children.flatMap((bucket) => [
    `CREATE TABLE ${markerOf(context, bucket)} (bucket int NOT NULL, epoch bigint NOT NULL)`,
    `INSERT INTO ${markerOf(context, bucket)} VALUES (${bucket.id}, ${epoch})`,
  ]);
  return [
    block(demandGuard(context, `m.attempt = ${attempt} AND m.armed`, 'FOR SHARE')),
    ...asOwner(owner, [...leaveIntakes(context), ...attach]),
    ...markers,
    mirror(context, epoch),
  ];
}

/** The children's rows of the mirror in the place of the parents'. */
function mirror({ move, owned, targetEndpoint }: MoveContext, epoch: number): string {
  const rows = move.children.map((child) =>
    mirrorRow(owned, { ...child, shard: move.to, epoch }, targetEndpoint),
  );
  const upsert = upsertMirror(rows).text.replace('$1', () => quoteLiteral(JSON.stringify(rows)));
  if (!isReshape(move)) return upsert;
  const ids = move.parents.map(({ id }) => id).join(', ');
  const group = quoteLiteral(owned.name);
  return `DELETE FROM herdsman.shard_map WHERE group_name = ${group} AND bucket IN (${ids}); ${upsert}`;
}

function beginning(lockTimeoutMs: number): string[] {
  return ['BEGIN', `SET LOCAL lock_timeout = ${lockTimeoutMs}`, 'SET LOCAL synchronous_commit = on'];
}

/** Prepares a transaction in one round trip; answers only when the standbys that commits wait for have it. */
async function prepare(
  connection: Connection,
  gid: string,
  parts: readonly string[],
  lockTimeoutMs: number,
): Promise<StepResult> {
  const text = [...beginning(lockTimeoutMs), ...parts, `PREPARE TRANSACTION ${quoteLiteral(gid)}`].join(
    ';\n',
  );
  try {
    await connection.query({ text });
    return done;
  } catch (error) {
    if (!connection.closed) await connection.query({ text: 'ROLLBACK' });
    throw error;
  }
}

/** Step 9: both prepared transactions are there, on the primaries of the copy, and would outlive a failover. */
export async function gate(context: MoveContext, step: Of<'gate'>, view: MoveView): Promise<StepResult> {
  const { timelines } = view.record;
  const results = await Promise.all([
    passGate(context, 'source', step.fence, timelines?.source),
    passGate(context, 'target', step.open, timelines?.target),
  ]);
  return results.find(({ kind }) => kind === 'refused') ?? done;
}

/** Where commits wait for standbys one of those must have it, elsewhere any that is there. */
const gateQuery = `
WITH mode AS (SELECT current_setting('synchronous_standby_names') <> '' AS promised),
standby AS (
  SELECT r.flush_lsn FROM mode, pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
  WHERE s.slot_type IS DISTINCT FROM 'logical' AND (NOT mode.promised OR r.sync_state IN ('sync', 'quorum')))
SELECT EXISTS (SELECT FROM pg_prepared_xacts x WHERE x.gid = $1) AS prepared,
  left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline,
  coalesce($2::pg_lsn, pg_current_wal_insert_lsn())::text AS lsn,
  promised,
  EXISTS (SELECT FROM standby WHERE flush_lsn >= $2::pg_lsn) OR NOT promised AND NOT EXISTS (SELECT FROM standby) AS safe
FROM mode`;

interface GateRow {
  readonly prepared: boolean;
  readonly timeline: string;
  readonly lsn: string;
  /** Whether commits wait for standbys on this server. */
  readonly promised: boolean;
  readonly safe: boolean;
}

async function passGate(
  context: MoveContext,
  side: Side,
  gid: string,
  timeline: number | undefined,
): Promise<StepResult> {
  return context.use(side, async (connection) => {
    const until = performance.now() + gateMs;
    for (let lsn: string | null = null; ; await sleep(2)) {
      const [row]: GateRow[] = await connection.query<GateRow>(statement(gateQuery, gid, lsn));
      if (row?.prepared !== true || Number.parseInt(row.timeline, 16) !== timeline) {
        return refused('PreparedLost', `a prepared transaction is gone on the ${side}`);
      }
      if (row.safe) return done;
      lsn ??= row.lsn;
      if (performance.now() <= until) continue;
      // Where commits wait for nobody, a standby that is far behind holds up no move either.
      return row.promised ? refused('StandbysBehind', `no standby of the ${side} has confirmed it`) : done;
    }
  });
}

/** Step 11 on one side: COMMIT PREPARED. The source comes last, and word to those who listen when nobody waits any more. */
export async function commit(context: MoveContext, side: Side, gid: string): Promise<StepResult> {
  await context.use(side, (connection) => connection.query({ text: `COMMIT PREPARED ${quoteLiteral(gid)}` }));
  if (side === 'source') await Promise.all([notify(context, 'target'), notify(context, 'source')]);
  return done;
}

async function notify(context: MoveContext, side: Side): Promise<void> {
  const { move, group } = context;
  const buckets = move.children.map(({ id }) => id);
  const news = JSON.stringify({ group: group.name, buckets, shard: move.to });
  await context.use(side, (connection) =>
    connection.query(statement('SELECT pg_notify($1, $2)', 'herdsman_map', news)),
  );
}

/** Rolls a prepared transaction back; one that is gone is rolled back. */
export async function rollBack(context: MoveContext, side: Side, gid: string): Promise<StepResult> {
  return context.use(side, async (connection) => {
    try {
      await connection.query({ text: `ROLLBACK PREPARED ${quoteLiteral(gid)}` });
    } catch (error) {
      if (!(error instanceof PostgresError) || error.sqlstate !== '42704') throw error;
    }
    return done;
  });
}
