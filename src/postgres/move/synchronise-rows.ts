import { setTimeout as sleep } from 'node:timers/promises';
import type { StepResult } from '../../sharding/move/model.ts';
import { copyName } from '../../sharding/move/names.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified } from '../identifier.ts';
import { statement } from '../statement.ts';
import {
  asOwner,
  block,
  demandGuard,
  done,
  guardCondition,
  leavesOf,
  type MoveContext,
  ownerOf,
  refused,
} from './context.ts';
import { type CopiedLeaf, sizeOf } from './copied-leaf.ts';
import { subscribe } from './copy.ts';
import { makeSlot, withOwnSessions } from './copy-sessions.ts';
import { makeKey } from './intake.ts';

/** How often the target is asked how far it is: at first, and at most so seldom when all that is large is being copied. */
const lookMs = 20;
const seldomMs = 500;
/** A leaf of this size is seen while it is copied; a smaller one has its key from the beginning. */
const seenBytes = 16 * 1024 * 1024;

/** A table of the subscription. */
interface Table {
  readonly name: string;
  /** As in `pg_subscription_rel`: i(nitialize), d(ata), f(inished copy), s(ynchronised), r(eady). */
  readonly state: 'i' | 'd' | 'f' | 's' | 'r';
  /** What has come of it, while it is copied. */
  readonly bytes: number | null;
  readonly rows: number | null;
  /** How often a copy of the subscription's ended with an error. */
  readonly errors: number;
}

const tablesQuery = `
SELECT c.relname AS name, t.srsubstate AS state, p.bytes_processed::float8 AS bytes, p.tuples_processed::float8 AS rows,
  coalesce(e.sync_error_count, 0)::int AS errors
FROM pg_subscription s JOIN pg_subscription_rel t ON t.srsubid = s.oid JOIN pg_class c ON c.oid = t.srrelid
  LEFT JOIN pg_stat_progress_copy p ON p.relid = c.oid AND p.datid = s.subdbid
  LEFT JOIN pg_stat_subscription_stats e ON e.subid = s.oid
WHERE s.subname = $1`;

/**
 * Step 2 by PostgreSQL's table synchronisation: the target's workers copy from the source, which takes half the processor time that
 * it takes through the operator. A key is asked for while its leaf is copied, and so is made before any change finds its row by it.
 */
export async function synchroniseRows(
  context: MoveContext,
  copy: number,
  leaves: readonly CopiedLeaf[],
): Promise<StepResult> {
  const name = copyName(context.move.id, copy);
  return withOwnSessions(context, async (open) => {
    const walsender = await open('source', { applicationName: name, replication: true });
    await makeSlot(context, walsender, name);
    await walsender.close();
    const keys = new LeafKeys(context, copy, open);
    for (const leaf of leaves) if (leaf.bytes < seenBytes) keys.begin(leaf.name);
    await keys.made();
    await subscribe(context, copy, { copyData: true, binary: leaves.every(({ binary }) => binary) });
    if (!(await follow(context, name, leaves, keys))) {
      return refused(
        'CopyFailed',
        `shard ${context.move.to} could not copy, and its log says why: copying again`,
      );
    }
    await keys.made();
    const bytes = sizeOf(leaves);
    return context.use('target', async (connection) => {
      context.copying?.report?.({ bytes, total: bytes, rows: await countRows(connection, leaves) });
      await connection.query({
        text: block(
          `${demandGuard(context, `m.copy = ${copy} AND NOT m.copied`, 'FOR UPDATE')}
          UPDATE herdsman.moves m SET copied = true WHERE ${guardCondition(context)} AND m.copy = ${copy};`,
        ),
      });
      return done;
    });
  });
}

/** Waits until all tables have what their copies' streams had at their end, and tells how far they are; whether they came so far. */
async function follow(
  { copying, use }: MoveContext,
  name: string,
  leaves: readonly CopiedLeaf[],
  keys: LeafKeys,
): Promise<boolean> {
  const total = sizeOf(leaves);
  const rows = new Map<string, number>();
  for (let pauseMs = lookMs; ; ) {
    // Not in a session of its own: one with a server that is gone without a word has to end.
    const tables = await use('target', (connection) => connection.query<Table>(statement(tablesQuery, name)));
    if (tables.length === 0 || tables.some(({ errors }) => errors > 0)) return false;
    const begun = leaves.flatMap((leaf) => {
      const table = tables.find((candidate) => candidate.name === leaf.name);
      return table !== undefined && isBegun(table) ? [{ leaf, table }] : [];
    });
    for (const { leaf, table } of begun) {
      keys.begin(leaf.name);
      if (table.rows !== null) rows.set(leaf.name, table.rows);
    }
    copying?.waits?.(begun.length === 0);
    if (tables.every(({ state }) => state === 's' || state === 'r')) return true;
    copying?.report?.({
      bytes: begun.reduce((sum, { leaf, table }) => sum + Math.min(table.bytes ?? leaf.bytes, leaf.bytes), 0),
      total,
      rows: [...rows.values()].reduce((sum, count) => sum + count, 0),
    });
    keys.throwIfFailed();
    copying?.signal?.throwIfAborted();
    await sleep(pauseMs);
    if (begun.length === leaves.length) pauseMs = Math.min(pauseMs * 1.02, seldomMs);
  }
}

/** Whether its copy goes on, or is over. */
function isBegun({ state, bytes }: Table): boolean {
  return bytes !== null || state === 'f' || state === 's' || state === 'r';
}

/** Rows that were copied. Making a key counts those of a table; what had its key before is small. */
async function countRows(session: Connection, leaves: readonly CopiedLeaf[]): Promise<number> {
  let rows = 0;
  for (const { name, bytes } of leaves) {
    const table = qualified(applicationSchema, name);
    const [found] = await session.query<{ rows: number }>(
      bytes < seenBytes
        ? { text: `SELECT count(*)::float8 AS rows FROM ${table}` }
        : statement('SELECT reltuples::float8 AS rows FROM pg_class WHERE oid = $1::regclass', table),
    );
    rows += found?.rows ?? 0;
  }
  return rows;
}

/** The primary keys of the target's leaves; each is made once, in a session of its own. */
class LeafKeys {
  readonly #context: MoveContext;
  readonly #copy: number;
  readonly #open: MoveContext['open'];
  readonly #making = new Map<string, Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(context: MoveContext, copy: number, open: MoveContext['open']) {
    this.#context = context;
    this.#copy = copy;
    this.#open = open;
  }

  /** Begins to make that of a leaf, which waits until nobody writes to the leaf. */
  begin(name: string): void {
    if (this.#making.has(name)) return;
    const making = this.#make(name);
    making.catch((error) => {
      this.#failure ??= { error };
    });
    this.#making.set(name, making);
  }

  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Waits for all that have been begun. */
  async made(): Promise<void> {
    await Promise.all(this.#making.values());
  }

  async #make(name: string): Promise<void> {
    const leaf = leavesOf(this.#context, 'target').find((candidate) => candidate.name === name);
    if (leaf === undefined) return;
    const session = await this.#open('target', {
      applicationName: copyName(this.#context.move.id, this.#copy),
    });
    const owner = await ownerOf(session, this.#context, 'target');
    const demand = (lock: 'FOR SHARE' | '') =>
      block(demandGuard(this.#context, `m.copy = ${this.#copy} AND NOT m.copied`, lock));
    await session.query({
      text: [
        'BEGIN',
        'SET LOCAL lock_timeout = 0',
        // Whoever was paused until the leaf has become an owner's must not lock it.
        demand(''),
        // Before the row of the move is locked, which others need to end the move.
        ...asOwner(owner, [`LOCK TABLE ${leaf.qualified} IN ACCESS EXCLUSIVE MODE`]),
        demand('FOR SHARE'),
        ...asOwner(owner, [block(`EXECUTE ${makeKey(leaf.qualified, leaf.table)};`)]),
        'COMMIT',
      ].join(';\n'),
    });
    await session.close();
  }
}
