import type { Clock } from '../../src/runtime/clock.ts';

/** A clock that stands still until it is moved. */
export interface ManualClock extends Clock {
  /** Moves on, and calls what falls due on the way, in order. */
  advance(ms: number): void;
  /** Timers that are set. */
  readonly timers: number;
  /** Timers that were ever set: it grows when the code under test has come round to waiting again. */
  readonly timersSet: number;
}

/** Makes a clock at a fixed date. */
export function createManualClock(start = new Date('2026-01-01T00:00:00Z')): ManualClock {
  let nowMs = 0;
  let timersSet = 0;
  const timers = new Set<{ readonly dueMs: number; readonly callback: () => void }>();
  return {
    now: () => new Date(start.getTime() + nowMs),
    monotonicMs: () => nowMs,
    after(delayMs, callback) {
      const timer = { dueMs: nowMs + Math.max(0, delayMs), callback };
      timers.add(timer);
      timersSet += 1;
      return () => void timers.delete(timer);
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        const [next] = [...timers]
          .filter(({ dueMs }) => dueMs <= untilMs)
          .toSorted((a, b) => a.dueMs - b.dueMs);
        if (next === undefined) break;
        timers.delete(next);
        nowMs = Math.max(nowMs, next.dueMs);
        next.callback();
      }
      nowMs = untilMs;
    },
    get timers() {
      return timers.size;
    },
    get timersSet() {
      return timersSet;
    },
  };
}
