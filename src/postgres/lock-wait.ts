import { PostgresError } from './postgres-error.ts';
import type { Statement } from './statement.ts';

/**
 * For a transaction that looks at tables: somebody may hold one for hours, as VACUUM FULL and ALTER TABLE do, and even bounds of
 * partitions cannot be read then.
 */
export const waitBriefly: Statement = { text: "SET LOCAL lock_timeout = '1s'" };

/** Whether a statement has waited for a lock as long as it may (lock_not_available). */
export function isLocked(error: unknown): boolean {
  return error instanceof PostgresError && error.sqlstate === '55P03';
}
