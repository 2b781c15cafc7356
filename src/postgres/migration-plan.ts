import { createHash } from 'node:crypto';
import type { LedgerEntry } from '../sharding/shard-catalog.ts';

/** One entry of `spec.schema`, with its SQL at hand. */
export interface ResolvedMigration {
  readonly name: string;
  readonly sql: string;
  /** Default 3 s. */
  readonly lockTimeoutMs?: number;
  /** Of the whole migration; default 10 min. The connection's own limit has to be off or longer. */
  readonly statementTimeoutMs?: number;
}

/** What the ledger of one shard asks for. */
export type MigrationPlan =
  | { readonly kind: 'done' }
  | { readonly kind: 'apply'; readonly migration: ResolvedMigration; readonly position: number }
  | { readonly kind: 'edited' | 'reordered' | 'removed'; readonly name: string; readonly message: string };

/** Checksum of a migration's SQL, as the ledger keeps it. */
export function checksumOf(sql: string): string {
  return createHash('sha256').update(sql).digest('hex');
}

/** Compares the migrations with a shard's ledger: what was applied must be the beginning of the list, unchanged. */
export function planMigrations(
  migrations: readonly ResolvedMigration[],
  ledger: readonly LedgerEntry[],
): MigrationPlan {
  const applied = [...ledger].sort((a, b) => a.position - b.position);
  for (const [index, entry] of applied.entries()) {
    const { name } = entry;
    const place = migrations.findIndex((migration) => migration.name === name);
    const migration = migrations[place];
    if (migration === undefined) {
      const message = `migration "${name}" was applied and is no longer in spec.schema: put it back at place ${index + 1}`;
      return { kind: 'removed', name, message };
    }
    if (place !== index) {
      const message =
        `migration "${name}" was applied as number ${index + 1} and is now number ${place + 1}: put it back there, and ` +
        'add new migrations at the end';
      return { kind: 'reordered', name, message };
    }
    if (checksumOf(migration.sql) !== entry.checksum) {
      const message =
        `migration "${name}" was edited after it was applied: put its text back, and write the change as a new ` +
        'migration at the end';
      return { kind: 'edited', name, message };
    }
  }
  const migration = migrations[applied.length];
  return migration === undefined
    ? { kind: 'done' }
    : { kind: 'apply', migration, position: applied.length + 1 };
}
