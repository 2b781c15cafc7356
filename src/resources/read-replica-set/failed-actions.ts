import type { SetFailure } from './execute.ts';
import type { Finding, SetPlan } from './model.ts';
import { NameTaken } from './name-taken.ts';

/** A plan with what its actions met: what is refused is amiss, all else is tried again. */
export function withFailedActions(decided: SetPlan, failed: readonly SetFailure[]): SetPlan {
  const found = (isTaken: boolean, reason: string): Finding[] =>
    failed
      .filter(({ error }) => error instanceof NameTaken === isTaken)
      .map(({ error: { message } }) => ({ reason, message }));
  return {
    ...decided,
    progress: [...found(false, 'Retrying'), ...decided.progress],
    failures: [...found(true, 'NameTaken'), ...decided.failures],
  };
}
