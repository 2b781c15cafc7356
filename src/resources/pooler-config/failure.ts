import type { Action } from './model.ts';

/** An action that did not succeed. */
export interface PoolerFailure {
  readonly action: Action;
  readonly error: Error;
}
