import type { Action, StepResult } from '../model.ts';

/** The step goes on in a later pass. */
export function wait(
  reason: string,
  message: string,
  afterMs: number,
  actions: readonly Action[] = [],
): StepResult {
  return { kind: 'wait', reason, message, afterMs, actions };
}

/** The step goes on when somebody has corrected something. */
export function fail(reason: string, message: string, actions: readonly Action[] = []): StepResult {
  return { kind: 'fail', reason, message, actions };
}

/** One sentence for all problems. */
export function messagesOf(problems: readonly { message: string }[]): string {
  return problems.map((problem) => problem.message).join('; ');
}
