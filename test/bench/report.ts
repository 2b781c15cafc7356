import { cpus, release, totalmem } from 'node:os';
import type { Target } from './targets.ts';

/** One target with what was measured. */
export interface Reach extends Target {
  readonly value: number;
  readonly ok: boolean;
  readonly runs: number;
}

/** What a benchmark answers. */
export interface Measured {
  readonly reach: readonly Reach[];
  readonly detail: Readonly<Record<string, unknown>>;
}

/** A benchmark by its name. */
export type Benchmark = (words: readonly string[]) => Promise<Measured>;

/** Compares a value with its target. */
export function reached(target: Target, value: number, runs: number): Reach {
  const rounded = Math.round(value * 100) / 100;
  const ok = target.atLeast === true ? rounded >= target.target : rounded <= target.target;
  return { ...target, value: rounded, ok, runs };
}

/** The middle of the values. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)];
  const lower = sorted[Math.ceil(middle) - 1];
  if (upper === undefined || lower === undefined) throw new Error('nothing was measured');
  return (upper + lower) / 2;
}

/** The least of the values that so large a share of them does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const found = sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
  if (found === undefined) throw new Error('nothing was measured');
  return found;
}

/** How many runs: `RUNS`, or as many as the benchmark does by itself. */
export function runCount(usual: number): number {
  const asked = Number(process.env.RUNS ?? usual);
  if (!Number.isInteger(asked) || asked < 1)
    throw new Error(`RUNS=${process.env.RUNS}: write a number from 1`);
  return asked;
}

/** Tells a person how far it is; standard output belongs to the report. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** The machine on which it was measured. */
export function machine(): Record<string, unknown> {
  const processors = cpus();
  return {
    cpus: processors.length,
    model: processors[0]?.model.trim() ?? '',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
}
