import { setTimeout as sleep } from 'node:timers/promises';
import { planForeignKeys } from '../sharding/foreign-keys.ts';
import type { Layout } from '../sharding/layout.ts';
import { readKeyCatalog } from './catalog.ts';
import type { Connection } from './connection.ts';
import { checksumOf, type ResolvedMigration } from './migration-plan.ts';
import { isRetryable, PostgresError, UnreachableError } from './postgres-error.ts';
import { statement } from './statement.ts';

/** How one attempt to apply a migration to one shard ended. */
export type MigrationOutcome =
  /** `already`: another operator, or an earlier attempt without an answer, has applied it. */
  | { readonly kind: 'applied' | 'already' }
  /** Locks were not to be had, or transactions collided: the same again later may succeed. */
  | { readonly kind: 'busy'; readonly message: string }
  /** PostgreSQL refuses it: somebody has to correct it. Nothing of it is left. */
  | {
      readonly kind: 'failed';
      readonly message: string;
      readonly sqlstate?: string;
      /** Line of the SQL, from 1. */
      readonly line?: number;
    }
  /** No answer: it may have been applied; the ledger tells. */
  | { readonly kind: 'unknown'; readonly message: string };

/** What applying needs. */
export interface MigrationInput {
  /** Name of the shard, for messages. */
  readonly shard: string;
  readonly migration: ResolvedMigration;
  readonly position: number;
  readonly layout: Layout;
  /** Tries before `busy`; default 5. */
  readonly attempts?: number;
  /** On a read model: rows of its copies stay as they are, and perhaps other SQL is run. */
  readonly onModel?: { readonly sql: string | undefined };
  /** Waited for when all is done but the commit; what it throws rolls the migration back. */
  readonly beforeCommit?: () => Promise<void>;
}

/** Two foreign keys that no shard could enforce, or more: the migration is refused as if PostgreSQL had. */
class RefusedMigration extends Error {}

/**
 * Applies one migration, in one transaction with its row in the ledger, on a session of the application's role: exactly once,
 * also with two operators at it. The parents' foreign keys go to the leaves in the same transaction.
 */
export async function applyMigration(
  connection: Connection,
  input: MigrationInput,
): Promise<MigrationOutcome> {
  const { migration, shard } = input;
  const attempts = input.attempts ?? 5;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return { kind: (await applyOnce(connection, input)) ? 'applied' : 'already' };
    } catch (error) {
      const prefix = `${input.onModel === undefined ? 'shard' : 'member'} ${shard}, migration "${migration.name}"`;
      if (error instanceof UnreachableError)
        return { kind: 'unknown', message: `${prefix}: ${error.message}` };
      if (error instanceof RefusedMigration)
        return { kind: 'failed', message: `${prefix}: ${error.message}` };
      if (!(error instanceof PostgresError)) throw error;
      if (!isRetryable(error)) return failure(prefix, migration.sql, error);
      if (attempt >= attempts) {
        return { kind: 'busy', message: `${prefix}: ${error.message} (tried ${attempts} times)` };
      }
      await sleep(Math.min(2_000, 100 * 2 ** attempt) * (0.5 + Math.random() / 2));
    }
  }
}

async function applyOnce(connection: Connection, input: MigrationInput): Promise<boolean> {
  const { migration, position, layout } = input;
  return connection.transaction(async () => {
    await connection.query({
      text:
        `SET LOCAL lock_timeout = ${migration.lockTimeoutMs ?? 3_000}; ` +
        `SET LOCAL statement_timeout = ${migration.statementTimeoutMs ?? 600_000}; ` +
        // It waits for other shards before it commits.
        'SET LOCAL idle_in_transaction_session_timeout = 0',
    });
    await connection.query({
      text: "SELECT pg_advisory_xact_lock(hashtextextended('herdsman.migrations', 0))",
    });
    const [entry] = await connection.query<{ checksum: string }>(
      statement('SELECT checksum FROM herdsman.migrations WHERE name = $1', migration.name),
    );
    if (entry !== undefined) return false;
    // The first that the transaction changes: streams to read models wait there, with the tables as they were.
    await connection.query(
      statement(
        'INSERT INTO herdsman.migrations (name, position, checksum) VALUES ($1, $2, $3)',
        migration.name,
        position,
        checksumOf(migration.sql),
      ),
    );
    if (input.onModel !== undefined) await connection.query({ text: "SET LOCAL herdsman.migrating = 'on'" });
    await connection.query({ text: 'SET LOCAL search_path = public' });
    // By a function, and not as it is: PostgreSQL then refuses a COMMIT in it, which would leave half of it behind.
    await connection.query(
      statement('SELECT herdsman.run_migration($1)', input.onModel?.sql ?? migration.sql),
    );
    // What is only checked at COMMIT would fail when other shards have committed.
    await connection.query({
      text: 'SET CONSTRAINTS ALL IMMEDIATE; RESET ROLE; SET LOCAL search_path = pg_catalog, pg_temp',
    });
    const relocation = planForeignKeys(layout, await readKeyCatalog(connection));
    if (relocation.problems.length > 0) {
      throw new RefusedMigration(relocation.problems.map((problem) => problem.message).join('; '));
    }
    for (const next of relocation.statements) await connection.query(next);
    await input.beforeCommit?.();
    return true;
  });
}

function failure(prefix: string, sql: string, error: PostgresError): MigrationOutcome {
  const line = error.internalPosition === undefined ? undefined : lineAt(sql, error.internalPosition);
  const place = line === undefined ? '' : ` (line ${line})`;
  const advice = adviceFor(error);
  const message = [
    `${prefix}${place}: ${error.message}`,
    ...(error.detail === undefined ? [] : [`Detail: ${error.detail}`]),
    ...(error.hint === undefined ? [] : [`Hint: ${error.hint}`]),
    ...(advice === undefined ? [] : [advice]),
  ].join('. ');
  const known = { kind: 'failed' as const, message, sqlstate: error.sqlstate };
  return line === undefined ? known : { ...known, line };
}

function lineAt(sql: string, position: number): number {
  return [...sql].slice(0, position - 1).filter((character) => character === '\n').length + 1;
}

function adviceFor(error: PostgresError): string | undefined {
  if (error.message.includes('EXECUTE of transaction commands')) {
    return 'A migration is one transaction: leave out BEGIN, COMMIT, ROLLBACK and SAVEPOINT';
  }
  if (error.sqlstate === '25001') {
    return 'A migration is one transaction: write CREATE INDEX without CONCURRENTLY, and nothing that needs to be outside';
  }
  if (error.message.includes('COPY to/from client'))
    return 'Write INSERT, or load the rows after the migration';
  if (error.sqlstate === '42501') return 'Migrations run as the application role';
  return undefined;
}
