import pg from 'pg';
import { connectApplication, type ShardService } from './pg.ts';
import { readOnce } from './read-replica-set.ts';
import { waitFor } from './wait.ts';

/** Reads of a row that its primary renews all along. */
export interface Heartbeat {
  /** For how long, at most, what a read did not show had been committed when it began, in milliseconds. */
  stalestMs(): number;
  /** Reads on new connections so far. */
  reads(): number;
  /** Sessions that stayed, and were ended. */
  ended(): number;
  /** Counts a read of somebody else: the `beat` that it showed, and when it was begun (`performance.now()`). */
  judge(beat: number, begunMs: number): void;
  /** Times that the row was renewed so far. */
  beats(): number;
  /** Reads that failed, by message. */
  readonly errors: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

/** What else is read beside new connections. */
export interface HeartbeatOptions {
  /** On how many servers behind the Service a session stays that is opened at the start. */
  readonly staysOn?: number;
}

const beatMs = 100;
const undefinedTable = '42P01';
const question = 'SELECT beat FROM heartbeat';

/** Renews a row on the primary and reads it through a Service, each time on a new connection, as pools do after a while. */
export async function startHeartbeat(
  primary: ShardService,
  config: pg.ClientConfig,
  { staysOn = 0 }: HeartbeatOptions = {},
): Promise<Heartbeat> {
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
  let ended = 0;
  let isRunning = true;
  const pause = () => new Promise((resolve) => setTimeout(resolve, beatMs));

  async function write(): Promise<void> {
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
  }

  /** It shows the past since the next beat was acknowledged; how long that took to be committed is no lag. */
  function judge(beat: number, begunMs: number): void {
    stalest = Math.max(stalest, begunMs - (beats[Math.max(0, beat - start)] ?? begunMs));
  }

  /** Reads again and again. A read that answers nothing has not been one; where not even the table has come, no beat is shown. */
  async function follow(read: () => Promise<number | undefined>): Promise<void> {
    while (isRunning) {
      try {
        const begunMs = performance.now();
        const beat = await read().catch((error: unknown) => {
          if ((error as { code?: string }).code === undefinedTable) return start;
          throw error;
        });
        if (beat !== undefined) judge(beat, begunMs);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        errors.set(message, (errors.get(message) ?? 0) + 1);
      }
      await pause();
    }
  }

  async function readAnew(): Promise<number> {
    const { beat } = await readOnce<{ beat: number }>(config, question);
    reads += 1;
    return beat;
  }

  /** Reads on a session for as long as its server lets it, then on another one. */
  async function followOn(session: pg.Client): Promise<void> {
    let client: pg.Client | undefined = session;
    await follow(async () => {
      client ??= await openSession(config);
      try {
        return (await client.query<{ beat: number }>(question)).rows[0]?.beat;
      } catch (error) {
        if (!isEnd(error)) throw error;
        ended += 1;
        client.end().catch(() => undefined);
        client = undefined;
        return undefined;
      }
    });
    client?.end().catch(() => undefined);
  }

  const staying = await sessionsOn(config, staysOn);
  const work = [write(), follow(readAnew), ...staying.map(followOn)];
  return {
    stalestMs: () => stalest,
    reads: () => reads,
    judge,
    ended: () => ended,
    beats: () => beats.length,
    errors,
    async stop() {
      isRunning = false;
      await Promise.all(work);
      await writer.end();
    },
  };
}

/** A session, which answers within seconds or counts as lost. */
async function openSession(config: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client({ ...config, query_timeout: 3_000 });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Whether it was the session that ended, and not just the query: PostgreSQL says so, or the connection is gone. */
function isEnd(error: unknown): boolean {
  const { code = '57P01' } = error as { code?: string };
  return code.startsWith('57P') || code.startsWith('E');
}

/** A session on each of so many servers behind the Service. */
async function sessionsOn(config: pg.ClientConfig, servers: number): Promise<pg.Client[]> {
  const sessions = new Map<string, pg.Client>();
  await waitFor(`sessions on ${servers} servers`, async () => {
    if (sessions.size === servers) return { done: true };
    const client = await openSession(config);
    const { rows } = await client.query<{ address: string }>('SELECT host(inet_server_addr()) AS address');
    const address = rows[0]?.address ?? '';
    if (sessions.has(address)) await client.end();
    else sessions.set(address, client);
    return { state: [...sessions.keys()] };
  });
  return [...sessions.values()];
}
