import type { ShardMoveStatus } from '../../src/api/v1alpha1/shard-move.ts';
import { percentile } from './report.ts';

/** The steps of one switch, as a status has them. */
export type SwitchSteps = NonNullable<ShardMoveStatus['steps']>;

/** What one kind of step took, in ms, and how often it was done. */
interface StepTimes {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** What each step of the switches took; `between`: from the fence to the second commit, what no step accounts for. */
export function stepTimes(switches: readonly SwitchSteps[]): Record<string, StepTimes> {
  const times = new Map<string, number[]>();
  const add = (name: string, ms: number) => times.set(name, [...(times.get(name) ?? []), ms]);
  for (const steps of switches) {
    for (const { name, tookMs } of steps) add(name, tookMs);
    const [first, last] = [steps[0], steps.at(-1)];
    if (first === undefined || last === undefined) continue;
    const wholeMs = Date.parse(last.startedAt) + last.tookMs - Date.parse(first.startedAt);
    add('between', wholeMs - steps.reduce((sum, { tookMs }) => sum + tookMs, 0));
  }
  return Object.fromEntries(
    [...times].map(([name, took]) => [
      name,
      {
        count: took.length,
        p50: percentile(took, 0.5),
        p99: percentile(took, 0.99),
        max: Math.max(...took),
      },
    ]),
  );
}
