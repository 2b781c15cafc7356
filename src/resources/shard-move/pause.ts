import type { Clock } from '../../runtime/clock.ts';
import { pause } from '../../runtime/clock.ts';
import type { MoveWorld } from '../../sharding/move/drive.ts';
import type { Step } from '../../sharding/move/model.ts';
import type { ShardMove } from './model.ts';
import { isCancelled } from './record.ts';

/** Annotation of a ShardMove: steps, separated by commas, before which it waits until the annotation is taken away. */
export const pauseAnnotation = 'herdsman.dev/pause-before';

/** How long a step is held before all is looked at anew: a bucket that is fenced must not wait for a person. */
const longestHoldMs = 10_000;
const everyMs = 200;

const steps: Readonly<Record<Step['kind'], true>> = {
  stage: true,
  publish: true,
  'copy-rows': true,
  subscribe: true,
  'catch-up': true,
  index: true,
  verify: true,
  arm: true,
  announce: true,
  fence: true,
  drain: true,
  open: true,
  gate: true,
  decide: true,
  'commit-target': true,
  'commit-source': true,
  'clear-pending': true,
  'roll-back-source': true,
  'roll-back-target': true,
  disarm: true,
  unsubscribe: true,
  unstage: true,
  unpublish: true,
  settle: true,
  detach: true,
  retire: true,
  forget: true,
  'drop-retired': true,
};

/** What the annotation of a ShardMove says: steps to wait before, and words that name none. */
export function pausesOf({ metadata }: Pick<ShardMove, 'metadata'>): { steps: string[]; unknown: string[] } {
  const words = (metadata.annotations?.[pauseAnnotation] ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  return {
    steps: words.filter((word) => Object.hasOwn(steps, word)),
    unknown: words.filter((word) => !Object.hasOwn(steps, word)),
  };
}

/** What holding a step needs. */
export interface HoldOptions {
  readonly clock: Clock;
  /** Aborts when this process leads no more: the step is no longer held then, since nobody may rely on it. */
  readonly signal: AbortSignal;
  /** The ShardMove as it is now. */
  read(): Promise<ShardMove | undefined>;
  /** Tells that a step is held. */
  tell(shardMove: ShardMove, reason: string, message: string): Promise<unknown>;
}

/** Holds the steps that the annotation names: for drills, and for who wants to see everything before writers are kept out. */
export function createHold(shardMove: ShardMove, options: HoldOptions): NonNullable<MoveWorld['hold']> {
  const isNamed = (object: ShardMove | undefined, step: Step): object is ShardMove =>
    object !== undefined && pausesOf(object).steps.includes(step.kind);
  return async (step) => {
    if (!isNamed(shardMove, step)) return 'go-on';
    const { clock, signal, read, tell } = options;
    const until = clock.monotonicMs() + longestHoldMs;
    while (!signal.aborted) {
      const latest = await read();
      if (!isNamed(latest, step)) return 'go-on';
      if (isCancelled(latest) && !isCancelled(shardMove)) return 'look-again';
      if (clock.monotonicMs() >= until) return 'look-again';
      await tell(latest, 'Paused', `before ${step.kind}`);
      await pause(clock, everyMs, signal);
    }
    return 'go-on';
  };
}
