import { isReshape } from '../../sharding/move/buckets.ts';
import type { StepResult } from '../../sharding/move/model.ts';
import { statement } from '../statement.ts';
import { guardCondition, leavesOf, type MoveContext, refused } from './context.ts';
import { type CopiedLeaf, readLeaf, sizeOf } from './copied-leaf.ts';
import { relayRows } from './relay-rows.ts';
import { synchroniseRows } from './synchronise-rows.ts';
import { shapes } from './table-change.ts';

/** From this size on the servers copy by themselves; with less, their slots and workers take longer than they save. */
const synchronisedBytes = 32 * 1024 * 1024;

/**
 * Step 2: makes the failover slot, and copies all rows, in binary form where that can be, before there is a primary key. It is done
 * as a whole or not at all: a copy that is interrupted is begun anew with another slot, by the next number.
 */
export async function copyRows(context: MoveContext, copy: number): Promise<StepResult> {
  if (!(await begin(context, copy))) return refused('CopyBegan', 'a copy has begun: it is not begun again');
  const leaves = await context.use('source', async (connection) => {
    const found: CopiedLeaf[] = [];
    for (const leaf of leavesOf(context, 'source')) found.push(await readLeaf(connection, leaf));
    return found;
  });
  const servers = maySynchronise(context, copy, leaves) && (await hasWorkers(context, leaves.length));
  return servers ? synchroniseRows(context, copy, leaves) : relayRows(context, copy, leaves);
}

/** From here on nobody begins this copy again, so that its slot is never made twice. */
async function begin(context: MoveContext, copy: number): Promise<boolean> {
  const marked = await context.use('source', (connection) =>
    connection.query(
      statement(
        `UPDATE herdsman.moves m SET copying = true, shapes = ${shapes(context)} WHERE ${guardCondition(context)} AND m.copy = $1 AND NOT m.copying
          RETURNING m.copy`,
        copy,
      ),
    ),
  );
  return marked.length > 0;
}

/**
 * Servers know no pace, and copy into a table that is like the source's; and why they could not copy is in a log only, so that the
 * next copy is the operator's, who is told.
 */
function maySynchronise(
  { move, copying }: MoveContext,
  copy: number,
  leaves: readonly Pick<CopiedLeaf, 'bytes'>[],
): boolean {
  if (copy > 1 || isReshape(move) || copying?.maxBytesPerSecond !== undefined) return false;
  return sizeOf(leaves) >= synchronisedBytes;
}

/** Whether the target has workers for the stream and for the tables that are copied at once: it would wait for others to end. */
async function hasWorkers(context: MoveContext, tables: number): Promise<boolean> {
  const [row] = await context.use('target', (connection) =>
    connection.query<{ free: number; atOnce: number }>({
      text: `SELECT current_setting('max_sync_workers_per_subscription')::int AS "atOnce",
        least(current_setting('max_logical_replication_workers')::int, current_setting('max_worker_processes')::int)
          - (SELECT count(*)::int FROM pg_stat_subscription s WHERE s.pid IS NOT NULL) AS free`,
    }),
  );
  const { free = 0, atOnce = 0 } = row ?? {};
  // That of sentinels is one of the tables.
  return atOnce > 0 && free > Math.min(atOnce, tables + 1);
}
