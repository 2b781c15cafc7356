import type { Connection } from './connection.ts';

/** How statements are run together. */
export interface TogetherOptions {
  /** How long each may wait for its locks; 2 s by default. */
  readonly lockTimeoutMs?: number;
  /** The transaction's first statement; BEGIN by default. */
  readonly begin?: string;
}

/** Runs statements in one transaction, in one round trip: if this process stands still, no lock of theirs is kept. */
export async function runTogether(
  connection: Connection,
  statements: readonly string[],
  { lockTimeoutMs = 2_000, begin = 'BEGIN' }: TogetherOptions = {},
): Promise<void> {
  const all = [begin, `SET LOCAL lock_timeout = ${lockTimeoutMs}`, ...statements, 'COMMIT'];
  try {
    await connection.query({ text: all.join(';\n') });
  } catch (error) {
    if (!connection.closed) await connection.query({ text: 'ROLLBACK' });
    throw error;
  }
}
