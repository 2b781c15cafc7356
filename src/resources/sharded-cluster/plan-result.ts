import type { Action, StepResult } from './model.ts';

/** How far one track of steps came in this pass. */
export interface Outcome {
  readonly track: 'identity' | 'topology' | 'content';
  /** Name of the step that stopped the track; `undefined` when it went through. */
  readonly step: string | undefined;
  readonly result: StepResult;
}

/** What a pass decided. */
export interface Plan {
  readonly actions: readonly Action[];
  readonly outcomes: readonly Outcome[];
}
