import type { ReplicaStats } from '../../postgres/replica-stats.ts';
import type { Reading } from '../../runtime/reading.ts';
import type { Lag } from './rotation.ts';
import { type Sample, stalenessOf } from './staleness.ts';

/** How far behind the primary's history a standby is, beyond its delay; `undefined` while that is not known. */
export function lagOf(
  stats: Reading<Pick<ReplicaStats, 'received' | 'replayed'>>,
  history: readonly Sample[] | undefined,
  applyDelayMs: number,
  nowMs: number,
): Lag | undefined {
  const last = history?.at(-1);
  if (stats.state !== 'present' || history === undefined || last === undefined) return undefined;
  const { received, replayed } = stats.value;
  const shown = stalenessOf(history, replayed, nowMs);
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
