import type pg from 'pg';
import { connectApplication, type ShardService } from './pg.ts';
import { readOnce } from './read-replica-set.ts';

/** Reads of a row that its primary renews all along. */
export interface Heartbeat {
  /** For how long, at most, what a read did not show had been committed when it began, in milliseconds. */
  stalestMs(): number;
  /** Reads so far. */
  reads(): number;
  /** Times that the row was renewed so far. */
  beats(): number;
  /** Reads that failed, by message. */
  readonly errors: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

const beatMs = 100;
const undefinedTable = '42P01';

/** Renews a row on the primary and reads it through a Service, each time on a new connection, as pools do after a while. */
export async function startHeartbeat(primary: ShardService, config: pg.ClientConfig): Promise<Heartbeat> {
  let writer = await connectApplication(primary);
  await writer.query('CREATE TABLE IF NOT EXISTS heartbeat (id int PRIMARY KEY, beat int NOT NULL)');
  const { rows } = await writer.query<{ beat: number }>(
    'INSERT INTO heartbeat VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET beat = heartbeat.beat RETURNING beat',
  );
  const start = rows[0]?.beat ?? 0;
  const errors = new Map<string, number>();
  /** When each beat was acknowledged. */
  const beats: number[] = [];
  let stalest = 0;
  let reads = 0;
  let isRunning = true;
  const pause = () => new Promise((resolve) => setTimeout(resolve, beatMs));

  const writing = (async () => {
    while (isRunning) {
      try {
        await writer.query('UPDATE heartbeat SET beat = $1', [start + beats.length + 1]);
        beats.push(performance.now());
      } catch {
        // Its server is another now.
        await writer.end().catch(() => undefined);
        writer = await connectApplication(primary).catch(() => writer);
      }
      await pause();
    }
  })();

  /** Beats that a reader sees; none where not even the table has come. */
  async function beatsShown(): Promise<number> {
    try {
      const { beat } = await readOnce<{ beat: number }>(config, 'SELECT beat FROM heartbeat');
      return Math.max(0, beat - start);
    } catch (error) {
      if ((error as { code?: string }).code === undefinedTable) return 0;
      throw error;
    }
  }

  const reading = (async () => {
    while (isRunning) {
      try {
        const begunMs = performance.now();
        const shown = await beatsShown();
        reads += 1;
        // It shows the past since the next beat was acknowledged; how long that took to be committed is no lag.
        stalest = Math.max(stalest, begunMs - (beats[shown] ?? begunMs));
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
    beats: () => beats.length,
    errors,
    async stop() {
      isRunning = false;
      await Promise.all([writing, reading]);
      await writer.end();
    },
  };
}
