import type { MoveWorld } from '../../sharding/move/drive.ts';

/** Measures how long a bucket took no writes: from the fence to the commit on its new shard. */
export interface Stopwatch {
  note: NonNullable<MoveWorld['onStep']>;
  /** Of the switch that succeeded, when this process saw all of it. */
  fenceMs(): number | undefined;
}

/** A stopwatch on the monotonic clock. */
export function createStopwatch(monotonicMs: () => number): Stopwatch {
  let fencedAtMs: number | undefined;
  let fenceMs: number | undefined;
  return {
    note(step, result, tookMs) {
      const isDone = result !== 'unknown' && result.kind === 'done';
      if (step.kind === 'fence') fencedAtMs = isDone ? monotonicMs() - tookMs : undefined;
      if (step.kind === 'commit-target' && isDone && fencedAtMs !== undefined)
        fenceMs = Math.round(monotonicMs() - fencedAtMs);
    },
    fenceMs: () => fenceMs,
  };
}
