import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientConfig } from 'pg';
import pg from 'pg';
import { markerName } from '../../src/sharding/names.ts';

/** One bucket that is written to, with keys that fall into it. */
export interface WrittenBucket {
  readonly id: number;
  readonly keys: readonly number[];
}

/** What writers need. */
export interface PacedOptions {
  readonly group: string;
  /** Table `(key, id, amount, note)` with the primary key `(key, id)`. */
  readonly table: string;
  readonly buckets: readonly WrittenBucket[];
  readonly config: (shard: string) => Promise<ClientConfig>;
  readonly writers: number;
  /** Of all writers together. */
  readonly writesPerSecond: number;
}

/** One write as its client saw it, with all that it took to find the owner. */
export interface Write {
  readonly bucket: number;
  readonly atMs: number;
  readonly tookMs: number;
}

/** Writers at work. */
export interface PacedWriters {
  readonly writes: readonly Write[];
  /** Messages that a client that follows the map should not see. */
  readonly errors: readonly string[];
  /** Ends them, and answers the amount by `key/id` of every row that shall be there. */
  stop(): Promise<ReadonlyMap<string, number>>;
}

/** Ids below belong to rows that no writer touches. */
export const firstWrittenId = 10_000_000;

/**
 * Starts writers that insert, update and delete rows of their own in every bucket, at a pace. Each write is one message: the
 * marker first, then the change, in one transaction; who is sent away asks the map again, and starts again.
 */
export function startPacedWriters(options: PacedOptions): PacedWriters {
  const { group, table, buckets, config, writers, writesPerSecond } = options;
  const rows = new Map<string, number>();
  const writes: Write[] = [];
  const errors: string[] = [];
  const shardOf = new Map<number, string>();
  let stopping = false;

  async function work(writer: number): Promise<void> {
    const clients = new Map<string, pg.Client>();
    const clientOf = async (shard: string) => {
      const known = clients.get(shard);
      if (known !== undefined) return known;
      const client = new pg.Client(await config(shard));
      client.on('error', () => clients.delete(shard));
      await client.connect();
      clients.set(shard, client);
      return client;
    };
    const locate = async (bucket: WrittenBucket): Promise<string> => {
      const text = `SELECT shard FROM herdsman.locate('${group}', $1::int)`;
      const { rows: found } = await (await clientOf(shardOf.get(bucket.id) ?? 's0')).query(text, [
        bucket.keys[0],
      ]);
      shardOf.set(bucket.id, found[0]?.shard);
      return found[0]?.shard;
    };
    const own: { bucket: WrittenBucket; key: number; id: number }[] = [];
    const periodMs = (writers * 1000) / writesPerSecond;
    let nextMs = performance.now() + (periodMs * writer) / writers;
    for (let n = 0; !stopping; n += 1) {
      await sleep(Math.max(0, nextMs - performance.now()));
      nextMs = Math.max(nextMs + periodMs, performance.now());
      const bucket = buckets[(n + writer) % buckets.length];
      if (bucket === undefined) return;
      const action = n % 3 === 0 ? 'insert' : n % 3 === 1 ? 'update' : 'delete';
      const fresh = {
        bucket,
        key: bucket.keys[n % bucket.keys.length] ?? 0,
        id: firstWrittenId * (writer + 1) + n,
      };
      // Half of the rows stay.
      const row =
        action === 'insert'
          ? fresh
          : ((action === 'delete' && n % 2 === 0 ? own.shift() : own.at(-1)) ?? fresh);
      const statement =
        row === fresh
          ? `INSERT INTO ${table} VALUES (${row.key}, ${row.id}, ${n}, 'w')`
          : action === 'delete' && n % 2 === 0
            ? `DELETE FROM ${table} WHERE customer_id = ${row.key} AND id = ${row.id}`
            : `UPDATE ${table} SET amount = ${n} WHERE customer_id = ${row.key} AND id = ${row.id}`;
      const began = performance.now();
      for (let tries = 0; ; tries += 1) {
        try {
          const shard = shardOf.get(row.bucket.id) ?? (await locate(row.bucket));
          const marker = `own."${markerName(group, row.bucket.id)}"`;
          const results = (await (
            await clientOf(shard)
          ).query(`SELECT FROM ${marker}; ${statement}`)) as unknown as {
            rowCount: number;
          }[];
          if (results[1]?.rowCount !== 1) throw new Error(`${row.key}/${row.id} is not there`);
          break;
        } catch (error) {
          if ((error as { code?: string }).code === '42P01' && tries < 1_000) {
            shardOf.delete(row.bucket.id);
            const at = await locate(row.bucket);
            shardOf.set(row.bucket.id, at);
            continue;
          }
          errors.push(error instanceof Error ? error.message : String(error));
          break;
        }
      }
      writes.push({ bucket: row.bucket.id, atMs: Date.now(), tookMs: performance.now() - began });
      if (statement.startsWith('DELETE')) rows.delete(`${row.key}/${row.id}`);
      else rows.set(`${row.key}/${row.id}`, n);
      if (row === fresh) own.push(row);
    }
    for (const client of clients.values()) await client.end();
  }

  const running = Array.from({ length: writers }, (_, writer) => work(writer));
  return {
    writes,
    errors,
    async stop() {
      stopping = true;
      await Promise.all(running);
      return rows;
    },
  };
}
