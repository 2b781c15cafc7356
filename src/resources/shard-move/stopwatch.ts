import type { ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import type { Clock } from '../../runtime/clock.ts';
import { preparedOf } from '../../sharding/move/decision.ts';
import type { MoveWorld } from '../../sharding/move/drive.ts';
import type { Move, MoveView, Step } from '../../sharding/move/model.ts';

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
  /** Of the comparison that succeeded, and of the steps of the switch that this process did. */
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
    note(step, result, tookMs, view) {
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
      if (!isDone || found.fenceMs !== undefined) return;
      // Who sees only the second of the commits did not learn when the first was done.
      if (step.kind === 'commit-target' || step.kind === 'commit-source') {
        const fencedForMs = fencedAtMs === undefined ? sinceFence(view) : monotonicMs() - fencedAtMs;
        if (fencedForMs !== undefined) found = { ...found, fenceMs: Math.round(fencedForMs) };
      }
    },
    findings: () => found,
  };

  /** By PostgreSQL's clock, which dates the fence that another process made. */
  function sinceFence({ source, record }: MoveView): number | undefined {
    const fence = source === 'unknown' ? undefined : preparedOf(source, record.attempt, 'fence');
    return fence === undefined ? undefined : Math.max(0, now().getTime() - fence.since);
  }
}
