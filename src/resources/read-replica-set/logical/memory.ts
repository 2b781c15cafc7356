import type { Sample } from '../staleness.ts';
import type { FailedMigration, ModelStep } from './model.ts';

/** What is remembered of a read model between passes; all of it can be found out again. */
export interface ModelMemory {
  /** By shard: where its primary was. */
  readonly histories: Map<string, readonly Sample[]>;
  /** By pod uid: what its roles and schema were made from. */
  readonly setUp: Map<string, string>;
  /** By member. */
  readonly failed: Map<string, FailedMigration>;
  /** By member: the step that runs now, and how the last one failed. */
  readonly running: Map<string, ModelStep['kind']>;
  /** When the last one ended. */
  readonly ended: Map<string, number>;
  readonly errors: Map<string, StepError>;
  /** When demoted servers were last looked through for slots of their own. */
  sweptMs: number;
}

/** How a step failed last. */
export interface StepError {
  readonly step: ModelStep['kind'];
  readonly reason: string;
  readonly message: string;
  readonly atMs: number;
}

/** An empty memory. */
export function emptyModelMemory(): ModelMemory {
  return {
    histories: new Map(),
    setUp: new Map(),
    failed: new Map(),
    running: new Map(),
    ended: new Map(),
    errors: new Map(),
    sweptMs: Number.NEGATIVE_INFINITY,
  };
}
