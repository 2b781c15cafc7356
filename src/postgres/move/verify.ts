import { setTimeout as sleep } from 'node:timers/promises';
import type { StepResult } from '../../sharding/move/model.ts';
import type { Connection } from '../connection.ts';
import { isRetryable } from '../postgres-error.ts';
import { done, leavesOf, type MoveContext, refused } from './context.ts';
import { columnsOf, digest } from './digest.ts';
import { catchUp, newSentinel, type Sentinel, writeSentinel } from './sentinel.ts';

/** How long writers may be kept out while the common point is set. */
const lockMs = 50;
/** How long the lock outlasts this process. */
const longestIdleMs = 2_000;
/** Tries to set it. */
const maxTries = 20;
/** How long the stream may take to get there. */
const arrivalMs = 20_000;

/**
 * Step 5: counts, or hashes of all rows, on both sides at a common point. Under a SHARE lock of some ms a snapshot is taken on
 * the source and a sentinel committed; on the target the stream stops at that sentinel while both sides are read.
 */
export async function verify(context: MoveContext, copy: number): Promise<StepResult> {
  if (context.move.verify === 'none') return done;
  const caughtUp = await catchUp(context, copy);
  if (caughtUp.kind === 'refused') return caughtUp;
  return context.use(
    'target',
    (target) =>
      context.use(
        'source',
        (snapshot) => context.use('source', (lock) => atCommonPoint(context, target, snapshot, lock)),
        true,
      ),
    true,
  );
}

async function atCommonPoint(
  context: MoveContext,
  target: Connection,
  snapshot: Connection,
  lock: Connection,
): Promise<StepResult> {
  // One of its own: the stream may still have to come past sentinels of tries before.
  const sentinel = newSentinel(context);
  const key = `hashtextextended('herdsman.move.${sentinel.id}.${sentinel.token}', 0)`;
  await target.query({ text: `SELECT pg_advisory_lock(${key})` });
  try {
    if (!(await setPoint(context, sentinel, snapshot, lock))) {
      return refused('Locked', 'writers did not leave a moment for the common point');
    }
    if (!(await hasArrived(target, key)))
      return refused('CatchingUp', 'the stream did not reach the common point');
    let verifiedRows = 0;
    for (const { name: table } of context.group.tables) {
      const parents = leavesOf(context, 'source').filter((leaf) => leaf.table === table);
      const children = leavesOf(context, 'target').filter((leaf) => leaf.table === table);
      const columns = await columnsOf(snapshot, parents[0]?.qualified ?? '');
      const [ours, theirs] = await Promise.all([
        digest(snapshot, parents, columns, context.move.verify),
        digest(target, children, columns, context.move.verify),
      ]);
      if (ours.rows === theirs.rows && ours.hash === theirs.hash) {
        verifiedRows += Number(ours.rows);
        continue;
      }
      const message =
        `${parents.map((leaf) => leaf.name).join(' and ')}: ${ours.rows} rows on the source and ${theirs.rows} on the target, ` +
        'or other ones';
      return { kind: 'refused', reason: 'VerificationFailed', message, ends: 'copy' };
    }
    return { kind: 'done', verifiedRows };
  } finally {
    if (!target.closed) await target.query({ text: `SELECT pg_advisory_unlock(${key})` });
    if (!snapshot.closed) await snapshot.query({ text: 'ROLLBACK' });
  }
}

/** Sets the common point: the snapshot has what was committed before the sentinel, and nothing else. */
async function setPoint(
  context: MoveContext,
  sentinel: Sentinel,
  snapshot: Connection,
  lock: Connection,
): Promise<boolean> {
  const leaves = leavesOf(context, 'source').map((leaf) => leaf.qualified);
  for (let attempt = 1; attempt <= maxTries; attempt += 1) {
    try {
      await lock.transaction(async () => {
        await lock.query({
          // If this process stands still, writers shall not.
          text: `SET LOCAL idle_in_transaction_session_timeout = ${longestIdleMs};
            SET LOCAL lock_timeout = ${lockMs}; LOCK TABLE ${leaves.join(', ')} IN SHARE MODE`,
        });
        await snapshot.query({ text: 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY' });
        await snapshot.query({ text: 'SELECT 1' });
        await lock.query(writeSentinel(sentinel, true));
      });
      return true;
    } catch (error) {
      if (!isRetryable(error)) throw error;
      await sleep(attempt * 20);
    }
  }
  return false;
}

/** Whether the stream waits at the sentinel: all before it is committed. */
async function hasArrived(target: Connection, key: string): Promise<boolean> {
  const until = performance.now() + arrivalMs;
  for (let pause = 2; performance.now() < until; pause = Math.min(pause * 2, 100)) {
    const [row] = await target.query<{ waiting: boolean }>({
      text: `SELECT EXISTS (SELECT FROM pg_locks l, (SELECT ${key} AS k) key WHERE l.locktype = 'advisory' AND NOT l.granted
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND l.classid::int8 = (key.k >> 32) & 4294967295 AND l.objid::int8 = key.k & 4294967295 AND l.objsubid = 1) AS waiting`,
    });
    if (row?.waiting === true) return true;
    await sleep(pause);
  }
  return false;
}
