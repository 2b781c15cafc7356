import { PostgresError } from '../../postgres/postgres-error.ts';
import { ApiError } from '../../runtime/api-error.ts';
import { UnderWay } from './long-work.ts';
import { MigrationError } from './migration-error.ts';
import type { Action, StepResult } from './model.ts';
import type { Outcome } from './plan-result.ts';

/** An action that did not succeed. */
export interface ActionFailure {
  readonly action: Action;
  readonly error: Error;
}

/** The outcomes of a pass, one for each track, with what became of its actions: what failed says more than what was planned. */
export function withFailures(
  outcomes: readonly Outcome[],
  failures: readonly ActionFailure[],
): readonly Outcome[] {
  return outcomes.map((outcome) => {
    const results = failures.filter(({ action }) => trackOf(action) === outcome.track).map(failureResult);
    const worst = results.find((result) => result.kind === 'fail') ?? results[0];
    if (worst === undefined || (outcome.result.kind === 'fail' && worst.kind !== 'fail')) return outcome;
    return { ...outcome, result: worst };
  });
}

/** What somebody has to correct degrades the cluster; all else is tried again. */
function failureResult({ action, error }: ActionFailure): StepResult {
  const message = action.kind === 'sql' ? `shard ${action.shard}: ${error.message}` : error.message;
  if (error instanceof MigrationError && error.needsCorrection)
    return { kind: 'fail', reason: 'MigrationFailed', message };
  if (error instanceof UnderWay) return { kind: 'wait', reason: 'Migrating', message, afterMs: 100 };
  if (error instanceof ApiError && (error.status === 403 || error.status === 422))
    return { kind: 'fail', reason: 'ApiRefused', message };
  if (action.kind === 'sql' && isOfTables(error)) return { kind: 'fail', reason: 'TablesInvalid', message };
  return { kind: 'wait', reason: 'Retrying', message, afterMs: 2_000 };
}

/** Whether PostgreSQL refuses a bound or a value for what it is: trying again is no help. */
function isOfTables(error: Error): boolean {
  return error instanceof PostgresError && (/^22/.test(error.sqlstate) || error.sqlstate === '42P17');
}

function trackOf(action: Action): Outcome['track'] {
  switch (action.kind) {
    case 'create-authority':
    case 'rotate-authority':
    case 'issue-shard':
    case 'issue-operator':
      return 'identity';
    case 'generate-login':
    case 'write-secret':
    case 'set-up-database':
    case 'create-map':
    case 'update-map':
    case 'migrate':
    case 'sql':
    case 'copy-references':
      return 'content';
    default:
      return 'topology';
  }
}
