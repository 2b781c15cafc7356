import type { Connection } from '../../src/postgres/connection.ts';
import { PostgresError } from '../../src/postgres/postgres-error.ts';
import { markerName } from '../../src/sharding/names.ts';
import type { MoveShards } from './move-world.ts';

/** Writers of a table `orders (customer_id, id, amount)`, which follow the map and prove that they are at the owner. */
export interface Writers {
  /** Ends them, and answers what they were told and what they saw. */
  stop(): Promise<WritersReport>;
}

/** What the writers were told. */
export interface WritersReport {
  /** Amount by `customer/id` of every row that shall be there. */
  readonly rows: ReadonlyMap<string, number>;
  readonly acknowledged: number;
  /** Errors by message that a client that follows the map should not see. */
  readonly errors: readonly string[];
  /** How often a marker was gone, and how often a snapshot was too old. */
  readonly redirected: number;
  readonly longestGapMs: number;
}

/** Starts writers; each inserts, updates and deletes rows of its own, of the customers given. */
export function startWriters(
  shards: Pick<MoveShards, 'connectApplication'>,
  customers: readonly number[],
  { writers = 6, isolation = 'READ COMMITTED' } = {},
): Writers {
  const rows = new Map<string, number>();
  const errors: string[] = [];
  let stopping = false;
  let acknowledged = 0;
  let redirected = 0;
  let longestGapMs = 0;

  async function write(writer: number): Promise<void> {
    const sessions = new Map<string, Connection>();
    let shard = 's0';
    let last = performance.now();
    for (let n = 0; !stopping; n += 1) {
      const customer = customers[n % customers.length] ?? 0;
      const id = (writer + 1) * 1_000_000 + (n % 3 === 0 ? n : n - (n % 3));
      const action = (['insert', 'update', n % 2 === 0 ? 'delete' : 'update'] as const)[n % 3] ?? 'insert';
      // The row of an update or delete is the one that was inserted last.
      const target = customers[(n - (n % 3)) % customers.length] ?? customer;
      for (;;) {
        try {
          let session = sessions.get(shard);
          if (session === undefined || session.closed) {
            session = await shards.connectApplication(shard);
            sessions.set(shard, session);
          }
          const located = await attempt(session, shard, action, target, id, n);
          if (located !== undefined) {
            redirected += 1;
            shard = located;
            continue;
          }
          acknowledged += 1;
          if (action === 'delete') rows.delete(`${target}/${id}`);
          else rows.set(`${target}/${id}`, n);
          longestGapMs = Math.max(longestGapMs, performance.now() - last);
          last = performance.now();
        } catch (error) {
          errors.push(`${action}: ${error instanceof Error ? error.message : String(error)}`);
        }
        break;
      }
    }
    for (const session of sessions.values()) await session.close();
  }

  /** Does one write; answers the shard to go to when this one is not the owner. */
  async function attempt(
    session: Connection,
    shard: string,
    action: 'insert' | 'update' | 'delete',
    customer: number,
    id: number,
    amount: number,
  ): Promise<string | undefined> {
    const [place] = await session.query<{ bucket: number; shard: string }>({
      text: "SELECT bucket, shard FROM herdsman.locate('customer', $1::int)",
      values: [customer],
    });
    if (place !== undefined && place.shard !== shard) return place.shard;
    const marker = `own."${markerName('customer', place?.bucket ?? 0)}"`;
    await session.query({ text: `BEGIN ISOLATION LEVEL ${isolation}` });
    try {
      const proof = await session.query({ text: `SELECT FROM ${marker}` });
      if (proof.length === 0) {
        await session.query({ text: 'ROLLBACK' });
        return shard;
      }
      const [text, values] = {
        insert: ['INSERT INTO public.orders VALUES ($1, $2, $3)', [customer, id, amount]] as const,
        update: [
          'UPDATE public.orders SET amount = $3 WHERE customer_id = $1 AND id = $2 RETURNING 1',
          [customer, id, amount],
        ] as const,
        delete: [
          'DELETE FROM public.orders WHERE customer_id = $1 AND id = $2 RETURNING 1',
          [customer, id],
        ] as const,
      }[action];
      const changed = await session.query({ text, values });
      if (action !== 'insert' && changed.length !== 1) throw new Error(`${customer}/${id} is not there`);
      await session.query({ text: 'COMMIT' });
      return undefined;
    } catch (error) {
      await session.query({ text: 'ROLLBACK' });
      if (error instanceof PostgresError && error.sqlstate === '42P01')
        return place?.shard === 's0' ? 's1' : 's0';
      if (error instanceof PostgresError && error.sqlstate === '40001') return shard;
      throw error;
    }
  }

  const running = Array.from({ length: writers }, (_, writer) => write(writer));
  return {
    async stop() {
      stopping = true;
      await Promise.all(running);
      return { rows, acknowledged, errors, redirected, longestGapMs };
    },
  };
}
