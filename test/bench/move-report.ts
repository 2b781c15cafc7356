import type { PacedWriters, Write } from '../support/paced-writers.ts';
import { type SwitchSteps, stepTimes } from './move-steps.ts';
import { type Measured, median, percentile, reached } from './report.ts';
import { targets } from './targets.ts';

/** One move, as its status and its clients tell of it. */
export interface Moved {
  readonly bucket: number;
  readonly bytes: number;
  readonly wholeMs: number;
  readonly copyMs: number;
  readonly fenceMs: number;
  readonly steps: SwitchSteps;
  readonly fromMs: number;
  readonly toMs: number;
  readonly phasesMs: Readonly<Record<string, number>>;
  /** When each phase began, in order. */
  readonly began: readonly (readonly [phase: string, atMs: number])[];
}

/** What was measured of moves and their writers. */
export interface Results {
  readonly moves: readonly Moved[];
  /** Rates of the raw copies, one before each large move. */
  readonly raw: readonly number[];
  /** Rate of a raw COPY before there were writers. */
  readonly alone?: number;
  readonly work: PacedWriters;
  readonly before: { readonly fromMs: number; readonly toMs: number };
  readonly ledger: { readonly lost: number; readonly doubled: number; readonly stale: number };
  /** Number of the large bucket. */
  readonly large: number;
  readonly writesPerSecond: number;
}

/** Compares what was measured with the targets. */
export function reportMoves({
  moves,
  raw,
  alone,
  work,
  before,
  ledger,
  large,
  writesPerSecond,
}: Results): Measured {
  const big = moves.filter(({ bucket }) => bucket === large);
  const small = moves.filter(({ bucket }) => bucket !== large);
  const fences = moves.map(({ fenceMs }) => fenceMs).filter((ms) => !Number.isNaN(ms));
  const between = (fromMs: number, toMs: number, of: (write: Write) => boolean) =>
    work.writes.filter((write) => write.atMs >= fromMs && write.atMs <= toMs && of(write));
  const usual = (of: (write: Write) => boolean) =>
    percentile(
      between(before.fromMs, before.toMs, of).map(({ tookMs }) => tookMs),
      0.99,
    );
  const longest = (writes: readonly Write[]) => Math.max(0, ...writes.map(({ tookMs }) => tookMs));
  const gapsMoved = moves.map(({ bucket, fromMs, toMs }) => {
    const isMoved = (write: Write) => write.bucket === bucket;
    return Math.max(0, longest(between(fromMs, toMs, isMoved)) - usual(isMoved));
  });
  const gapsOthers = moves.map(({ bucket, fromMs, toMs }) => {
    const isOther = (write: Write) => write.bucket !== bucket;
    return Math.max(0, longest(between(fromMs, toMs, isOther)) - usual(isOther));
  });
  // What a window as long as a move shows when nothing moves.
  const windowMs = median(moves.map(({ fromMs, toMs }) => toMs - fromMs));
  const windows = Math.floor((before.toMs - before.fromMs) / windowMs);
  const resting = Array.from({ length: windows }, (_, index) => {
    const fromMs = before.fromMs + index * windowMs;
    return Math.max(0, longest(between(fromMs, fromMs + windowMs, () => true)) - usual(() => true));
  });
  const rate = (fromMs: number, toMs: number, of: (write: Write) => boolean) =>
    between(fromMs, toMs, of).length / ((toMs - fromMs) / 1000);
  const throughputs = big.map(({ fromMs, toMs }) => {
    const isOther = (write: Write) => write.bucket !== large;
    return rate(fromMs, toMs, isOther) / rate(before.fromMs, before.toMs, isOther);
  });
  // Each move with the copy that was made just before it: how fast the machine is varies more than either.
  const rates = big.map((moved, turn) => wholeRate(moved) / (raw[turn] ?? Number.NaN));
  const t = targets.move;
  return {
    reach: [
      reached(t.fenceMedian, percentile(fences, 0.5), fences.length),
      reached(t.fenceP99, percentile(fences, 0.99), fences.length),
      reached(t.gapMoved, percentile(gapsMoved, 0.99), gapsMoved.length),
      reached(t.gapOthers, percentile(gapsOthers, 0.99), gapsOthers.length),
      ...(big.length === 0
        ? []
        : [
            reached(t.rate, median(rates), rates.length),
            reached(t.throughput, median(throughputs), throughputs.length),
          ]),
      reached(t.errors, work.errors.length, 1),
      reached(t.lost, ledger.lost + ledger.stale, 1),
      reached(t.doubled, ledger.doubled, 1),
    ],
    detail: {
      writesPerSecond: {
        asked: writesPerSecond,
        before: Math.round(rate(before.fromMs, before.toMs, () => true)),
      },
      fenceMaxMs: Math.max(...fences),
      gapMovedMs: { p50: Math.round(percentile(gapsMoved, 0.5)), max: Math.round(Math.max(...gapsMoved)) },
      gapOthersMs: {
        p50: Math.round(percentile(gapsOthers, 0.5)),
        max: Math.round(Math.max(...gapsOthers)),
      },
      gapRestingMs: {
        windows,
        p50: Math.round(percentile(resting, 0.5)),
        p99: Math.round(percentile(resting, 0.99)),
      },
      longestOfOthers: big.map((moved) => {
        const isOther = (write: Write) => write.bucket !== moved.bucket;
        return slowest(between(moved.fromMs, moved.toMs, isOther), moved);
      }),
      stepsMs: stepTimes(moves.map(({ steps }) => steps)),
      usualP99Ms: Math.round(usual(() => true) * 10) / 10,
      errors: [...new Set(work.errors)].slice(0, 5),
      ...(big.length === 0 ? {} : detailOfLarge(big, raw, alone)),
      ...(small.length === 0
        ? {}
        : {
            smallWholeMs: Math.round(median(small.map(({ wholeMs }) => wholeMs))),
            smallPhasesMs: small.at(-1)?.phasesMs,
          }),
    },
  };
}

function wholeRate({ bytes, wholeMs }: Moved): number {
  return bytes / (wholeMs / 1000);
}

/** The writes that waited longest during a move, and for what phase of it. */
function slowest(writes: readonly Write[], { began }: Moved): string[] {
  return [...writes]
    .sort((a, b) => b.tookMs - a.tookMs)
    .slice(0, 4)
    .map(({ atMs, tookMs, bucket }) => {
      const phase = began.findLast(([, fromMs]) => fromMs <= atMs)?.[0] ?? 'before';
      return `${Math.round(tookMs)} ms in ${phase}, bucket ${bucket}`;
    });
}

function detailOfLarge(
  big: readonly Moved[],
  raw: readonly number[],
  alone: number | undefined,
): Record<string, unknown> {
  const copy = big.map(({ bytes, copyMs }) => bytes / (copyMs / 1000));
  return {
    megabytes: Math.round((big[0]?.bytes ?? 0) / 1e6),
    copyMBps: copy.map(megabytes),
    wholeMBps: big.map((moved) => megabytes(wholeRate(moved))),
    rawMBps: raw.map(megabytes),
    ...(alone === undefined ? {} : { rawWithoutWritersMBps: megabytes(alone) }),
    copyToRaw: Math.round((median(copy) / median(raw)) * 100) / 100,
    phasesMs: big.map(({ phasesMs }) => phasesMs),
  };
}

function megabytes(bytesPerSecond: number): number {
  return Math.round(bytesPerSecond / 1e5) / 10;
}
