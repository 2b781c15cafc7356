import type { Connection, ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';

/** Asks servers the same short question again and again; one that hangs holds up nobody, and is not asked twice at once. */
export interface Poll {
  ask<T extends object>(
    key: string,
    options: ConnectOptions,
    question: (connection: Connection) => Promise<T>,
  ): Promise<Reading<T>>;
}

/** Answers that take longer count as none. */
const patienceMs = 800;
const limits = { connectTimeoutMs: 1_500, statementTimeoutMs: 1_500 };

/** A poll on the sessions of the process. */
export function createPoll(connections: Connections): Poll {
  const pending = new Set<string>();
  return {
    async ask(key, options, question) {
      if (pending.has(key)) return { state: 'unknown', error: new Error('its last answer has not come yet') };
      pending.add(key);
      const answer = readingOf(() => connections.use({ ...options, ...limits }, question)).finally(() =>
        pending.delete(key),
      );
      const silence = AbortSignal.timeout(patienceMs);
      const given = new Promise<Reading<never>>((resolve) => {
        silence.addEventListener('abort', () =>
          resolve({ state: 'unknown', error: new Error('it does not answer') }),
        );
      });
      return Promise.race([answer, given]);
    },
  };
}
