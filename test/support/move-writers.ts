import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../src/postgres/connection.ts';
import { PostgresError } from '../../src/postgres/postgres-error.ts';
import { markerName } from '../../src/sharding/names.ts';
import type { MoveShards } from './move-world.ts';
import { RowLedger } from './row-ledger.ts';

/** A table with a key of a group, a number of the row, and a value; the statements get them in this order, and return a row. */
export interface WrittenTable {
  readonly group: string;
  readonly keyType: 'int' | 'text';
  readonly insert: string;
  readonly update: string;
  /** Without the value. */
  readonly delete: string;
}

const orders: WrittenTable = {
  group: 'customer',
  keyType: 'int',
  insert: 'INSERT INTO public.orders VALUES ($1, $2, $3) RETURNING 1',
  update: 'UPDATE public.orders SET amount = $3 WHERE customer_id = $1 AND id = $2 RETURNING 1',
  delete: 'DELETE FROM public.orders WHERE customer_id = $1 AND id = $2 RETURNING 1',
};

/** Writers of a table, which follow the map and prove that they are at the owner. */
export interface Writers {
  /** Commits that were acknowledged so far. */
  acknowledged(): number;
  /** Ends them, and answers what they were told and what they saw. */
  stop(): Promise<WritersReport>;
}

/** What the writers were told. */
export interface WritersReport {
  /** Every row by `key/number`. */
  readonly ledger: RowLedger;
  readonly acknowledged: number;
  /** What no fault excuses: a row that its writer knows to be there was not. */
  readonly violations: readonly string[];
  /** Errors by message that a client that follows the map should not see while all servers are up. */
  readonly errors: readonly string[];
  /** How often a marker was gone, and how often a snapshot was too old. */
  readonly redirected: number;
  readonly longestGapMs: number;
}

/** How they write. */
export interface WritersOptions<K> {
  /** `orders (customer_id, id, amount)` by default. */
  readonly table?: WrittenTable;
  readonly writers?: number;
  readonly isolation?: 'READ COMMITTED' | 'REPEATABLE READ';
  /** Pause of a writer between two commits. */
  readonly everyMs?: number;
  /** What writers before them were told of other rows. */
  readonly ledger?: RowLedger;
  /** Number of these writers among all that use the ledger. */
  readonly run?: number;
  /** Told of every acknowledged commit. */
  onCommit?(key: K): void;
}

type Action = 'insert' | 'update' | 'delete';

/** How one try to write ended, when it did not succeed and did not fail. */
type Elsewhere = { readonly goTo: string };

/** The connection broke while the commit was on its way. */
class UnknownOutcome extends Error {}

/** Starts writers; each inserts, updates and deletes rows of its own, of the keys given. */
export function startWriters<K extends number | string>(
  { connectApplication }: Pick<MoveShards, 'connectApplication'>,
  keys: readonly K[],
  options: WritersOptions<K> = {},
): Writers {
  const { writers = 6, isolation = 'READ COMMITTED', everyMs = 0, run = 0 } = options;
  const { table = orders } = options;
  const ledger = options.ledger ?? new RowLedger();
  const violations: string[] = [];
  const errors: string[] = [];
  let stopping = false;
  let acknowledged = 0;
  let redirected = 0;
  let longestGapMs = 0;

  async function write(writer: number): Promise<void> {
    const sessions = new Map<string, Connection>();
    // Any shard knows where to go.
    const place = { shard: 's0' };
    let last = performance.now();
    for (let row = 0; !stopping; row += 1) {
      const key = keys[row % keys.length];
      if (key === undefined) throw new Error('there are no keys to write');
      const id = (run * writers + writer + 1) * 1_000_000 + row;
      const actions = ['insert', 'update', row % 2 === 0 ? 'delete' : 'update'] as const;
      for (const [index, action] of actions.entries()) {
        const amount = row * actions.length + index;
        if (!(await change(sessions, place, action, key, id, amount))) break;
        longestGapMs = Math.max(longestGapMs, performance.now() - last);
        last = performance.now();
        if (everyMs > 0) await sleep(everyMs);
      }
    }
    for (const session of sessions.values()) await session.close().catch(() => undefined);
  }

  /** Writes to a row wherever it is; `false` when it is not known how it stands: it is left alone then. */
  async function change(
    sessions: Map<string, Connection>,
    place: { shard: string },
    action: Action,
    key: K,
    id: number,
    amount: number,
  ): Promise<boolean> {
    const name = `${key}/${id}`;
    const value = action === 'delete' ? undefined : amount;
    for (let tries = 1; ; tries += 1) {
      // Nobody owns a bucket while it is fenced: no need to ask more often than this.
      if (tries > 3) {
        if (stopping) return false;
        await sleep(5);
      }
      let session: Connection | undefined;
      try {
        session = sessions.get(place.shard);
        if (session === undefined || session.closed) session = await connectApplication(place.shard);
        sessions.set(place.shard, session);
        const elsewhere = await attempt(session, place.shard, action, key, id, amount);
        if (elsewhere === undefined) {
          acknowledged += 1;
          ledger.settle(name, value);
          options.onCommit?.(key);
          return true;
        }
        redirected += 1;
        place.shard = elsewhere.goTo;
      } catch (error) {
        errors.push(`${action}: ${error instanceof Error ? error.message : String(error)}`);
        await session?.close().catch(() => undefined);
        sessions.delete(place.shard);
        if (error instanceof UnknownOutcome) {
          ledger.doubt(name, value);
          return false;
        }
        if (stopping) return false;
        // A server that is gone is not back at once.
        await sleep(50);
      }
    }
  }

  async function attempt(
    session: Connection,
    shard: string,
    action: Action,
    key: K,
    id: number,
    amount: number,
  ): Promise<Elsewhere | undefined> {
    const [place] = await session.query<{ bucket: number; shard: string }>({
      text: `SELECT bucket, shard FROM herdsman.locate($1, $2::${table.keyType})`,
      values: [table.group, key],
    });
    if (place !== undefined && place.shard !== shard) return { goTo: place.shard };
    const marker = `own."${markerName(table.group, place?.bucket ?? 0)}"`;
    let isCommitting = false;
    await session.query({ text: `BEGIN ISOLATION LEVEL ${isolation}` });
    try {
      const proof = await session.query({ text: `SELECT FROM ${marker}` });
      if (proof.length === 0) {
        await session.query({ text: 'ROLLBACK' });
        return { goTo: shard };
      }
      const values = action === 'delete' ? [key, id] : [key, id, amount];
      const changed = await session.query({ text: table[action], values });
      if (changed.length !== 1) violations.push(`${action}: ${key}/${id} is not on ${shard}`);
      isCommitting = true;
      await session.query({ text: 'COMMIT' });
      return undefined;
    } catch (error) {
      if (isCommitting && !(error instanceof PostgresError)) throw new UnknownOutcome(String(error));
      if (!session.closed) await session.query({ text: 'ROLLBACK' });
      // The mirror was read before the fence, which changes it, or the snapshot is older: the shard knows better now.
      if (error instanceof PostgresError && ['42P01', '40001'].includes(error.sqlstate)) {
        return { goTo: shard };
      }
      throw error;
    }
  }

  const running = Array.from({ length: writers }, (_, writer) => write(writer));
  return {
    acknowledged: () => acknowledged,
    async stop() {
      stopping = true;
      await Promise.all(running);
      return { ledger, acknowledged, violations, errors, redirected, longestGapMs };
    },
  };
}
