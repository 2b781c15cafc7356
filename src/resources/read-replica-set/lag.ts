import type { Lag } from './rotation.ts';
import { type Sample, stalenessOf } from './staleness.ts';

/** Where a standby is, in bytes of WAL since the beginning of time. */
export interface Position {
  readonly received: number;
  readonly replayed: number;
  /** How long ago what it shows last was committed, if it has said so just now. */
  readonly commitAgeMs?: number | undefined;
}

/** Lag that is only inferred: it can take a member out, and none in. */
export function inferred(lag: Lag | undefined): Lag | undefined {
  return lag === undefined ? undefined : { ...lag, exact: false };
}

/** How far behind the primary's history a standby is, beyond its delay; `undefined` while that is not known. */
export function lagOf(
  position: Position | undefined,
  history: readonly Sample[] | undefined,
  applyDelayMs: number,
  nowMs: number,
): Lag | undefined {
  const last = history?.at(-1);
  if (position === undefined || history === undefined || last === undefined) return undefined;
  const { received, replayed, commitAgeMs } = position;
  // Of a delayed one what it is late for sure: it always stands where the history may be thinned.
  const shown = stalenessOf(history, replayed, nowMs, applyDelayMs === 0 ? commitAgeMs : 0);
  const sent = stalenessOf(history, received, nowMs);
  if (shown === undefined || sent === undefined) return undefined;
  if (applyDelayMs === 0) {
    return { bytes: Math.max(0, last.position - replayed), seconds: shown.ms / 1_000, exact: shown.exact };
  }
  // What it holds back on purpose is not lag; what it has not even received is.
  const beyond = shown.exact ? Math.max(0, shown.ms - applyDelayMs) : 0;
  return {
    bytes: Math.max(0, last.position - received),
    seconds: Math.max(sent.ms, beyond) / 1_000,
    exact: sent.exact,
  };
}
