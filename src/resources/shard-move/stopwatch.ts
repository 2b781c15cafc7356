import type { ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { MoveWorld } from '../../sharding/move/drive.ts';
import type { Move, Step } from '../../sharding/move/model.ts';

/** What only whoever does the steps of a move can tell. */
type Findings = Pick<ShardMoveStatus, 'fenceMs' | 'steps' | 'verification'>;

/** The steps of a switch, from the fence on. */
const switchSteps: ReadonlySet<Step['kind']> = new Set([
  ...(['fence', 'drain', 'open', 'gate', 'decide', 'commit-target', 'commit-source'] as const),
]);

/** As many as the schema admits. */
const mostSteps = 16;

/** Measures how long a bucket took no writes, from the fence to the commit on its new shard, and how rows were compared. */
export interface Stopwatch {
  note: NonNullable<MoveWorld['onStep']>;
  /** Of the comparison and the switch that succeeded, when this process saw all of it. */
  findings(): Findings;
}

/** A stopwatch for a move. */
export function createStopwatch(
  { now, monotonicMs }: Pick<Clock, 'now' | 'monotonicMs'>,
  compared: Move['verify'],
): Stopwatch {
  let fencedAtMs: number | undefined;
  let steps: NonNullable<Findings['steps']> = [];
  let found: Findings = {};
  return {
    note(step, result, tookMs) {
      const isDone = result !== 'unknown' && result.kind === 'done';
      if (step.kind === 'verify' && isDone) {
        const verification = { compared, rows: result.verifiedRows ?? 0, tookMs: Math.round(tookMs) };
        found = { ...found, verification };
      }
      if (switchSteps.has(step.kind) && isDone) {
        const startedAt = new Date(now().getTime() - tookMs).toISOString();
        const done = { name: step.kind, startedAt, tookMs: Math.round(tookMs) };
        steps = step.kind === 'fence' ? [done] : [...steps, done];
        if (step.kind === 'commit-source') found = { ...found, steps: steps.slice(-mostSteps) };
      }
      if (step.kind === 'fence') fencedAtMs = isDone ? monotonicMs() - tookMs : undefined;
      if (step.kind === 'commit-target' && isDone && fencedAtMs !== undefined)
        found = { ...found, fenceMs: Math.round(monotonicMs() - fencedAtMs) };
    },
    findings: () => found,
  };
}
