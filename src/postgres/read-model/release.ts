import type { Connection } from '../connection.ts';
import { quoteIdentifier } from '../identifier.ts';

/**
 * Whether PostgreSQL refuses a migration because a publication of a read model names the column that it would take away or
 * change: 2BP01 when it is dropped, 0A000 when its type changes.
 */
export function isHeldByPublication(outcome: {
  readonly sqlstate?: string;
  readonly message: string;
}): boolean {
  const { sqlstate, message } = outcome;
  return (
    (sqlstate === '2BP01' && /\bpublication hr_[a-z0-9_]+/.test(message)) ||
    (sqlstate === '0A000' && message.includes('publication WHERE clause'))
  );
}

/** Drops the publications of read models that name columns: the cluster's migrations go before read models. */
export async function releaseColumns(connection: Connection): Promise<void> {
  const publications = await connection.query<{ name: string }>({
    text: `SELECT DISTINCT p.pubname AS name FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
      WHERE starts_with(p.pubname, 'hr_') AND (r.prattrs IS NOT NULL OR r.prqual IS NOT NULL)`,
  });
  for (const { name } of publications)
    await connection.query({ text: `DROP PUBLICATION IF EXISTS ${quoteIdentifier(name)}` });
}
