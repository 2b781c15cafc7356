import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepResult } from '../../sharding/move/model.ts';
import { copyName } from '../../sharding/move/names.ts';
import { quoteLiteral } from '../identifier.ts';
import { statement } from '../statement.ts';
import { block, done, type MoveContext, refused } from './context.ts';
import { findTableChange } from './table-change.ts';

/** The longest that the target may take to catch up while writers wait. */
const drainMs = 5_000;
/** A round trip that is quick enough to begin the switch. */
const quickMs = 200;
/** How long one step looks whether the target has caught up, and how often. */
const catchUpMs = 3_000;
const lookMs = 20;
/** WAL that may be outstanding when the switch begins. */
const maxLagBytes = 1_048_576;

/** A row to be written on the source and awaited on the target. */
export interface Sentinel {
  readonly id: string;
  readonly token: string;
}

/** Makes one of a move. */
export function newSentinel({ move }: MoveContext): Sentinel {
  return { id: move.id, token: randomUUID() };
}

/** The statement that writes it; one that holds stops the stream there. */
export function writeSentinel({ id, token }: Sentinel, hold = false) {
  return statement(
    'INSERT INTO herdsman.move_sentinels (id, token, hold) VALUES ($1, $2, $3)',
    id,
    token,
    hold,
  );
}

/**
 * Waits until a sentinel is on the target, so long at most; whether it came. The server looks: every look from here would cost a
 * round trip, and writers may be waiting.
 */
async function hasArrived(
  context: MoveContext,
  { id, token }: Sentinel,
  patienceMs: number,
): Promise<boolean> {
  const there = `EXISTS (SELECT FROM herdsman.move_sentinels s WHERE s.id = ${quoteLiteral(id)} AND s.token = ${quoteLiteral(token)})`;
  const look = block(
    `WHILE NOT ${there} AND clock_timestamp() < until LOOP PERFORM pg_sleep(0.0005); END LOOP;`,
    `DECLARE until timestamptz := clock_timestamp() + interval '${patienceMs} ms';`,
  );
  const [row] = await context.use('target', (connection) =>
    connection.query<{ arrived: boolean }>({ text: `${look}; SELECT ${there} AS arrived` }),
  );
  return row?.arrived === true;
}

/** WAL that the target has not confirmed. */
async function lagOf(context: MoveContext, copy: number): Promise<number> {
  const rows = await context.use('source', (connection) =>
    connection.query<{ lag: string }>(
      statement(
        `SELECT coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::text AS lag
          FROM pg_replication_slots WHERE slot_name = $1`,
        copyName(context.move.id, copy),
      ),
    ),
  );
  return Number(rows[0]?.lag ?? 0);
}

/**
 * Step 3: little outstanding, and quick. A stream that has just begun is soon there: it is looked at for a while. Asked again before
 * rows are compared and before writers wait: what took long on the target kept the stream waiting.
 */
export async function catchUp(context: MoveContext, copy: number): Promise<StepResult> {
  const changed = await findTableChange(context);
  if (changed !== undefined) return changed;
  const until = performance.now() + catchUpMs;
  for (;;) {
    const problem = await behind(context, copy);
    if (problem === undefined) return done;
    if (performance.now() > until) return refused('CatchingUp', `${problem}${await failures(context, copy)}`);
    await sleep(lookMs);
  }
}

/** That the target refuses what the stream brings, as when its disk is full: its log says why. */
async function failures({ use, move }: MoveContext, copy: number): Promise<string> {
  const [row] = await use('target', (connection) =>
    connection.query<{ errors: string }>(
      statement(
        'SELECT s.apply_error_count AS errors FROM pg_stat_subscription_stats s WHERE s.subname = $1',
        copyName(move.id, copy),
      ),
    ),
  );
  const errors = Number(row?.errors ?? 0);
  return errors === 0 ? '' : `; shard ${move.to} refused them ${errors} times, and its log says why`;
}

/** What says that the target is behind by more than writers can wait for; `undefined` when nothing does. */
async function behind(context: MoveContext, copy: number): Promise<string | undefined> {
  const lag = await lagOf(context, copy);
  if (lag > maxLagBytes) return `${lag} bytes of WAL are outstanding`;
  const sentinel = newSentinel(context);
  await context.use('source', (connection) => connection.query(writeSentinel(sentinel)));
  if (await hasArrived(context, sentinel, quickMs)) return undefined;
  return `changes take longer than ${quickMs} ms to arrive`;
}

/** Step 7: everything that was committed before the fence is on the target. */
export async function drain(context: MoveContext, gid: string): Promise<StepResult> {
  const sentinel = newSentinel(context);
  const written = await context.use('source', (connection) =>
    connection.query(
      statement(
        `INSERT INTO herdsman.move_sentinels (id, token) SELECT $1, $2 FROM pg_prepared_xacts x WHERE x.gid = $3
          RETURNING token`,
        sentinel.id,
        sentinel.token,
        gid,
      ),
    ),
  );
  if (written.length === 0) return refused('FenceLost', 'the fence is gone');
  if (await hasArrived(context, sentinel, drainMs)) return done;
  const message = `changes took longer than ${drainMs} ms`;
  return { kind: 'refused', reason: 'NotDrained', message, ends: 'switch' };
}
