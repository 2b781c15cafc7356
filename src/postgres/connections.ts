import { createHash } from 'node:crypto';
import { type Connection, type ConnectOptions, connect } from './connection.ts';

/** Sessions kept for a short time, so that a reconcile need not open one for each question. */
export interface Connections {
  /**
   * Lends a session for the length of `work`; nobody else has it meanwhile. When the signal aborts the session ends, so that
   * what it does fails, and the server rolls it back and lets go of its locks within seconds.
   */
  use<T>(
    options: ConnectOptions,
    work: (connection: Connection) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T>;
  /** Sessions that are open now. */
  readonly size: number;
  /** Closes those that are idle, and those in use when they come back. */
  close(): Promise<void>;
}

/** What may be set. */
export interface ConnectionsOptions {
  /** How long an unused session stays open. Default 15 s: an idle operator holds none. */
  readonly idleMs?: number;
  /** How long a session may take to be made clean before it is closed instead. Default 5 s. */
  readonly cleanMs?: number;
}

interface Idle {
  readonly connection: Connection;
  readonly timer: NodeJS.Timeout;
}

/** Makes a cache of sessions, keyed by all that identifies one. */
export function createConnections({
  idleMs = 15_000,
  cleanMs = 5_000,
}: ConnectionsOptions = {}): Connections {
  const idle = new Map<string, Idle[]>();
  let lent = 0;
  let ended = false;

  function take(key: string): Connection | undefined {
    for (;;) {
      const next = idle.get(key)?.pop();
      if (next === undefined) return undefined;
      clearTimeout(next.timer);
      if (!next.connection.closed) return next.connection;
    }
  }

  async function giveBack(key: string, connection: Connection): Promise<void> {
    if (connection.closed) return;
    if (ended || !(await isClean(connection, cleanMs))) return connection.close().catch(() => undefined);
    const timer = setTimeout(() => {
      const left = (idle.get(key) ?? []).filter((entry) => entry.connection !== connection);
      if (left.length === 0) idle.delete(key);
      else idle.set(key, left);
      connection.close().catch(() => undefined);
    }, idleMs);
    timer.unref();
    idle.set(key, [...(idle.get(key) ?? []), { connection, timer }]);
  }

  return {
    async use(options, work, signal) {
      signal?.throwIfAborted();
      const key = keyOf(options);
      const connection = take(key) ?? (await connect(options));
      const end = (): void => {
        connection.close().catch(() => undefined);
      };
      lent += 1;
      signal?.addEventListener('abort', end, { once: true });
      try {
        signal?.throwIfAborted();
        return await work(connection);
      } finally {
        signal?.removeEventListener('abort', end);
        lent -= 1;
        await giveBack(key, connection);
      }
    },
    get size() {
      return lent + [...idle.values()].reduce((sum, entries) => sum + entries.length, 0);
    },
    async close() {
      ended = true;
      const entries = [...idle.values()].flat();
      idle.clear();
      for (const entry of entries) clearTimeout(entry.timer);
      await Promise.allSettled(entries.map((entry) => entry.connection.close()));
    },
  };
}

/** Leaves nothing of the last borrower in the session: settings, temporary tables, roles. Whose server is silent is not clean. */
async function isClean(connection: Connection, atMostMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), atMostMs);
  });
  const discarded = connection.query({ text: 'DISCARD ALL' }).then(
    () => true,
    () => false,
  );
  try {
    return await Promise.race([discarded, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Everything that makes two sessions different; hashed, since a password is part of it. */
function keyOf(options: ConnectOptions): string {
  return createHash('sha256').update(JSON.stringify(options)).digest('hex');
}
