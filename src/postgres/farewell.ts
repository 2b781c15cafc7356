import type pg from 'pg';

/** For how long a server may take to close a session that we end. */
const patienceMs = 2_000;

/** Ends a session. The driver waits until the server has closed, too, which one that has gone without a word never does. */
export async function endSession(client: pg.Client): Promise<void> {
  const timer = setTimeout(() => client.connection.stream.destroy(), patienceMs);
  try {
    await client.end();
  } finally {
    clearTimeout(timer);
  }
}
