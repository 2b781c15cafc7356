import type pg from 'pg';
import { connectApplication, type ShardService } from './pg.ts';
import { readOnce } from './read-replica-set.ts';

/** Reads of a row that its primary renews all along. */
export interface Heartbeat {
  /** The oldest row that a read has shown so far, in milliseconds. */
  stalestMs(): number;
  /** Reads so far. */
  reads(): number;
  /** Reads that failed, by message. */
  readonly errors: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

const beatMs = 100;

/** Renews a row on the primary and reads it through a Service, each time on a new connection, as pools do after a while. */
export async function startHeartbeat(primary: ShardService, config: pg.ClientConfig): Promise<Heartbeat> {
  const writer = await connectApplication(primary);
  await writer.query('CREATE TABLE IF NOT EXISTS heartbeat (id int PRIMARY KEY, at timestamptz NOT NULL)');
  await writer.query(
    'INSERT INTO heartbeat VALUES (1, clock_timestamp()) ON CONFLICT (id) DO UPDATE SET at = excluded.at',
  );
  const errors = new Map<string, number>();
  let stalest = 0;
  let reads = 0;
  let isRunning = true;
  const pause = () => new Promise((resolve) => setTimeout(resolve, beatMs));
  let lastBeatMs = Date.now();
  const writing = (async () => {
    while (isRunning) {
      await writer.query('UPDATE heartbeat SET at = clock_timestamp()').then(
        () => {
          lastBeatMs = Date.now();
        },
        () => undefined,
      );
      await pause();
    }
  })();
  const reading = (async () => {
    while (isRunning) {
      try {
        const begunMs = Date.now();
        const { at } = await readOnce<{ at: Date }>(config, 'SELECT at FROM heartbeat');
        reads += 1;
        // While nobody writes, nothing gets older.
        stalest = Math.max(stalest, Math.min(begunMs, lastBeatMs) - at.getTime());
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        errors.set(message, (errors.get(message) ?? 0) + 1);
      }
      await pause();
    }
  })();
  return {
    stalestMs: () => stalest,
    reads: () => reads,
    errors,
    async stop() {
      isRunning = false;
      await Promise.all([writing, reading]);
      await writer.end();
    },
  };
}
