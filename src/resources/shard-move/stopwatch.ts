import type { ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import type { MoveWorld } from '../../sharding/move/drive.ts';
import type { Move } from '../../sharding/move/model.ts';

/** What only whoever does the steps of a move can tell. */
type Findings = Pick<ShardMoveStatus, 'fenceMs' | 'verification'>;

/** Measures how long a bucket took no writes, from the fence to the commit on its new shard, and how rows were compared. */
export interface Stopwatch {
  note: NonNullable<MoveWorld['onStep']>;
  /** Of the comparison and the switch that succeeded, when this process saw all of it. */
  findings(): Findings;
}

/** A stopwatch on the monotonic clock. */
export function createStopwatch(monotonicMs: () => number, compared: Move['verify']): Stopwatch {
  let fencedAtMs: number | undefined;
  let found: Findings = {};
  return {
    note(step, result, tookMs) {
      const isDone = result !== 'unknown' && result.kind === 'done';
      if (step.kind === 'verify' && isDone) {
        const verification = { compared, rows: result.verifiedRows ?? 0, tookMs: Math.round(tookMs) };
        found = { ...found, verification };
      }
      if (step.kind === 'fence') fencedAtMs = isDone ? monotonicMs() - tookMs : undefined;
      if (step.kind === 'commit-target' && isDone && fencedAtMs !== undefined)
        found = { ...found, fenceMs: Math.round(monotonicMs() - fencedAtMs) };
    },
    findings: () => found,
  };
}
