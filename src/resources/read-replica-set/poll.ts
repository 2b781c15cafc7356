import type { Connection, ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';

/**
 * Asks servers the same short question again and again; one that hangs holds up nobody, and is not asked twice at once. An
 * answer that comes late is given to whoever asks next.
 */
export interface Poll {
  ask<T extends object>(
    key: string,
    options: ConnectOptions,
    question: (connection: Connection) => Promise<T>,
  ): Promise<Reading<T>>;
}

/** Nobody waits for an answer any longer. */
const patienceMs = 800;
/** A late answer says nothing any more after so long. */
const lateMs = 3_000;
/** Of the sessions that are asked. What a member is told in haste takes one of them: by a slow link a new one comes too late. */
export const pollLimits = { connectTimeoutMs: 1_500, statementTimeoutMs: 1_500 };

/** A poll on the sessions of the process. */
export function createPoll(connections: Connections): Poll {
  const pending = new Set<string>();
  const late = new Map<string, Reading<object>>();

  function keepLate(key: string, answer: Reading<object>): void {
    if (answer.state !== 'present') return;
    late.set(key, answer);
    setTimeout(() => {
      if (late.get(key) === answer) late.delete(key);
    }, lateMs).unref();
  }

  return {
    async ask<T extends object>(
      key: string,
      options: ConnectOptions,
      question: (connection: Connection) => Promise<T>,
    ): Promise<Reading<T>> {
      const known = late.get(key);
      late.delete(key);
      // Under one key the question is always the same.
      if (known !== undefined) return known as Reading<T>;
      if (pending.has(key)) return { state: 'unknown', error: new Error('its last answer has not come yet') };
      pending.add(key);
      const answer = readingOf(() => connections.use({ ...options, ...pollLimits }, question)).finally(() =>
        pending.delete(key),
      );
      const silence = new Promise<undefined>((resolve) => {
        setTimeout(() => resolve(undefined), patienceMs).unref();
      });
      const given = await Promise.race([answer, silence]);
      if (given !== undefined) return given;
      void answer.then((reading) => keepLate(key, reading));
      return { state: 'unknown', error: new Error('it does not answer') };
    },
  };
}
