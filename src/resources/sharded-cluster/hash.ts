import { createHash } from 'node:crypto';

/** A short name for a record of texts; the order of its keys does not matter. */
export function hashOf(record: Readonly<Record<string, string>>): string {
  const ordered = Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(ordered)).digest('hex').slice(0, 16);
}
