import type { Action, Result } from './model.ts';

/** One step of a plan: it stops the plan with a result, or hands on what it found. */
export type Step<T> = { readonly stop: Result; readonly actions?: readonly Action[] } | { readonly value: T };

/** Stops a plan. */
export function stop(
  result: Result,
  actions: readonly Action[] = [],
): { stop: Result; actions: readonly Action[] } {
  return { stop: result, actions };
}

/** What a pass waits for. */
export function wait(reason: string, message: string, afterMs: number): Result {
  return { kind: 'wait', reason, message, afterMs };
}

/** What somebody has to change. */
export function fail(reason: string, message: string): Result {
  return { kind: 'fail', reason, message };
}
