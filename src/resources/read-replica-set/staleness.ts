/** Where the primary was at a time of our own clock. */
export interface Sample {
  readonly atMs: number;
  /** Bytes of WAL since the beginning of time. */
  readonly position: number;
}

/** How old what a standby shows is. */
export interface Staleness {
  readonly ms: number;
  /** Whether it cannot be older: the primary has been watched since it was there. */
  readonly exact: boolean;
}

/**
 * The places where the primary was, with one more; oldest first. Where it did not move nothing is added. A position that
 * goes back is another timeline: what was known before says nothing about it.
 */
export function withSample(history: readonly Sample[], sample: Sample, keepMs: number): readonly Sample[] {
  const last = history.at(-1);
  if (last === undefined || sample.position < last.position) return [sample];
  if (sample.position === last.position) return history;
  // The last one before the time that is kept stays: what was there then is known to be no older.
  const old = history.findLastIndex(({ atMs }) => atMs < sample.atMs - keepMs);
  return [...(old > 0 ? history.slice(old) : history), sample];
}

/**
 * How old what a standby shows is, by the WAL that the primary had when, on one clock. (The time of the last replayed commit
 * would say that every standby of an idle primary is late.)
 */
export function stalenessOf(
  history: readonly Sample[],
  position: number,
  nowMs: number,
): Staleness | undefined {
  const first = history[0];
  if (first === undefined) return undefined;
  const ahead = history.find((sample) => sample.position > position);
  if (ahead === undefined) return { ms: 0, exact: true };
  return { ms: Math.max(0, nowMs - ahead.atMs), exact: ahead !== first };
}
