import pg from 'pg';
import { Ledger } from './ledger.ts';

/** One row to be written by a writer. */
export interface Insert {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** How the writers write. */
export interface WriterOptions {
  /** Where to connect; asked for each connection, so that a moved endpoint is found. */
  readonly config: () => Promise<pg.ClientConfig>;
  /** The statement for row `n` of a writer. */
  readonly insert: (writer: number, n: number) => Insert;
  /** Connections at once; 4 by default. */
  readonly writers?: number;
  /** Pause between two commits of a writer; 10 ms by default. */
  readonly everyMs?: number;
  /** A dead peer answers nothing: how long an application of good sense waits before it connects anew; 1.5 s by default. */
  readonly patienceMs?: number;
}

/** Writers at work. */
export interface Load {
  readonly ledger: Ledger;
  /** Errors by message, for a report: what an application would have seen. */
  readonly errors: ReadonlyMap<string, number>;
  /** The column `server` that the last acknowledged statement returned, if it returns one. */
  server(): string | undefined;
  /** Lets each writer finish its commit, and ends. */
  stop(): Promise<void>;
}

/**
 * Starts writers that commit one row after the other, connect anew when the connection breaks, and never write a row again:
 * each row is acknowledged, refused, or unknown.
 */
export function startLoad({
  config,
  insert,
  writers = 4,
  everyMs = 10,
  patienceMs = 1500,
}: WriterOptions): Load {
  const ledger = new Ledger();
  const errors = new Map<string, number>();
  let stopping = false;
  let server: string | undefined;

  async function write(writer: number): Promise<void> {
    let client: pg.Client | undefined;
    for (let n = 0; !stopping; n++) {
      try {
        client ??= await connect(config, patienceMs);
      } catch (error) {
        count(error);
        n--;
        await pause(50);
        continue;
      }
      const { text, values } = insert(writer, n);
      // The row counts as unknown from the moment it may be on its way.
      ledger.leaveUnknown(writer, n);
      try {
        const { rows } = await client.query<{ server?: string }>(text, [...values]);
        server = rows[0]?.server;
        ledger.acknowledge(writer, n, performance.now());
      } catch (error) {
        count(error);
        abandon(client);
        client = undefined;
      }
      await pause(everyMs);
    }
    if (client !== undefined) await client.end().catch(() => undefined);
  }

  function count(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    errors.set(message, (errors.get(message) ?? 0) + 1);
  }

  const running = Array.from({ length: writers }, (_, writer) => write(writer));
  return {
    ledger,
    errors,
    server: () => server,
    async stop() {
      stopping = true;
      await Promise.all(running);
    },
  };
}

async function connect(config: () => Promise<pg.ClientConfig>, patienceMs: number): Promise<pg.Client> {
  const client = new pg.Client({
    ...(await config()),
    connectionTimeoutMillis: patienceMs,
    query_timeout: patienceMs,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (error) {
    abandon(client);
    throw error;
  }
}

/** Closes without waiting for a peer that may never answer. */
function abandon(client: pg.Client): void {
  client.end().catch(() => undefined);
  const { stream } = (client as unknown as { connection: { stream: { destroy(): void } } }).connection;
  stream.destroy();
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
