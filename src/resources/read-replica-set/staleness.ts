/** One look at the primary, on our own clock. */
export interface Look {
  readonly askedMs: number;
  readonly answeredMs: number;
  /** Bytes of WAL since the beginning of time. */
  readonly position: number;
}

/** A place where the primary was. */
export interface Sample {
  /** When it was known to have come there. */
  readonly atMs: number;
  /** When it was last known to be no further; before `atMs` while only one look has seen it there. */
  readonly untilMs: number;
  readonly position: number;
}

/** How old what a standby shows is. */
export interface Staleness {
  readonly ms: number;
  /** Whether it cannot be older: the primary has been watched since it was there. */
  readonly exact: boolean;
}

/** What is older than `fineMs` may be off by this part of the time that is kept. */
const coarsest = 1 / 2_000;

/**
 * The places where the primary was, with one more; oldest first. Where it did not move it only stayed longer. A position that
 * goes back is another timeline: what was known before says nothing about it. What is older than `fineMs` is thinned, so that
 * days need no more memory than minutes.
 */
export function withLook(
  history: readonly Sample[],
  look: Look,
  keepMs: number,
  fineMs = keepMs,
): readonly Sample[] {
  const { askedMs, answeredMs, position } = look;
  const last = history.at(-1);
  const sample = { atMs: answeredMs, untilMs: askedMs, position };
  if (last === undefined || position < last.position) return [sample];
  if (position === last.position) return [...history.slice(0, -1), { ...last, untilMs: askedMs }];
  // The last one before the time that is kept stays: what was there then is known to be no older.
  const old = history.findLastIndex(({ atMs }) => atMs < answeredMs - keepMs);
  const kept = old > 0 ? history.slice(old) : history;
  return [...thinned(kept, answeredMs - fineMs, keepMs * coarsest), sample];
}

/**
 * Without places between two that the primary passed within `resolutionMs`: who stands there is taken to be as far back as the
 * place before.
 */
function thinned(history: readonly Sample[], untilMs: number, resolutionMs: number): readonly Sample[] {
  const kept: Sample[] = [];
  for (const [index, sample] of history.entries()) {
    const [before, next] = [kept.at(-1), history[index + 1]];
    const isDetail =
      before !== undefined &&
      next !== undefined &&
      next.atMs < untilMs &&
      next.atMs - before.untilMs <= resolutionMs;
    if (!isDetail) kept.push(sample);
  }
  return kept;
}

/**
 * How old what a standby shows is, by the WAL that the primary had when, on one clock. (The time of the last replayed commit
 * alone would say that every standby of an idle primary is late.) Between two looks the primary may have moved on at any time:
 * there the age of the last replayed commit says when, if it is known, else it is taken to be as old as it can be. What only
 * the last look has seen may be on its way.
 */
export function stalenessOf(
  history: readonly Sample[],
  position: number,
  nowMs: number,
  commitAgeMs = Number.POSITIVE_INFINITY,
): Staleness | undefined {
  const index = history.findIndex((sample) => sample.position > position);
  const [before, ahead] = [history[index - 1], history[index]];
  if (ahead === undefined) return history.length === 0 ? undefined : { ms: 0, exact: true };
  const least = Math.max(0, nowMs - ahead.atMs);
  if (before === undefined) return { ms: least, exact: false };
  const isOnItsWay = index === history.length - 1 && ahead.untilMs <= ahead.atMs;
  const most = isOnItsWay ? least : nowMs - before.untilMs;
  return { ms: Math.min(Math.max(commitAgeMs, least), most), exact: true };
}
