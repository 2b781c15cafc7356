import type { PrimaryPosition, StandbyProgress } from '../../postgres/replica-stats.ts';
import type { Stray } from './model.ts';

/** A standby that has not come on for so long may have lost its place. */
export const silentMs = 30_000;

/** Patroni drops the slot of a member that is away for 30 minutes, and makes another when it comes back. */
const slotKeptMs = 900_000;

/** Where a standby stands that does not follow its primary; times are on the monotonic clock. */
export interface StandStill {
  /** The member that it shall follow. */
  readonly primary: string;
  /** Up to where it has replayed, in bytes of WAL; `undefined` while nobody has told. */
  readonly replayed: number | undefined;
  /** The most WAL that it has said it has. */
  readonly received: number | undefined;
  readonly startedMs: number | undefined;
  /** Whether it was ever seen to have more than its primary. */
  readonly isAhead: boolean;
  /** When it was seen last before its server was started anew, after it had stood still. */
  readonly restartedMs: number | undefined;
  /** Whether it has reached its primary since. */
  readonly hasReached: boolean;
  /** Since when its primary was seen to have its slot, at every look. */
  readonly slotSince: number | undefined;
  /** Since when it stands there. */
  readonly since: number;
  /** When it was seen last beside its primary. */
  readonly seenMs: number;
}

/** What a standby may follow: where its primary is, what that has been told, and the oldest WAL that it has. */
export interface Source extends Pick<PrimaryPosition, 'position' | 'standbys'> {
  readonly oldest: number;
  /** By slot: milliseconds since it was used; null if nobody has since the primary became one. */
  readonly idleMs: ReadonlyMap<string, number | null>;
}

/** What is known at one look: what the standby answers, if it does, and what its primary knows. */
export interface Look {
  readonly name: string;
  readonly slot: string;
  readonly primary: string;
  readonly at: StandbyProgress | undefined;
  readonly source: Source | undefined;
  readonly nowMs: number;
}

/**
 * How a standby stands that is up, or starts, and does not follow. While it starts it answers nobody, but tells its primary what it
 * replays of what that sends.
 */
export function standing(before: StandStill | undefined, look: Look): StandStill {
  const { name, primary, at, source, nowMs } = look;
  const replayed = at?.replayed ?? source?.standbys[name]?.replayed ?? before?.replayed;
  const received = at?.received ?? before?.received;
  const startedMs = at?.startedMs ?? before?.startedMs;
  const isAhead =
    before?.isAhead === true ||
    (source !== undefined && received !== undefined && received > source.position);
  const seen = { primary, replayed, received, startedMs, isAhead, seenMs: nowMs };
  // What it did with another primary, or with a slot that may have been made anew, says nothing of this one.
  if (before?.primary !== primary || nowMs - before.seenMs >= slotKeptMs) {
    const slotSince = slotSinceOf(undefined, look);
    return { ...seen, restartedMs: undefined, hasReached: false, slotSince, since: nowMs };
  }
  const isAnother = before.startedMs !== undefined && startedMs !== before.startedMs;
  const { restartedMs, since } = isAnother ? startedAnew(before, nowMs) : before;
  const isStill = at?.waitsForWal !== false && replayed === before.replayed && startedMs === before.startedMs;
  const slotSince = slotSinceOf(before.slotSince, look);
  return {
    ...seen,
    restartedMs,
    hasReached: before.hasReached || isReached(restartedMs, slotSince, look),
    slotSince,
    since: isStill ? since : nowMs,
  };
}

function slotSinceOf(before: number | undefined, { slot, source, nowMs }: Look): number | undefined {
  if (source === undefined) return before;
  return source.idleMs.has(slot) ? (before ?? nowMs) : undefined;
}

/** Whether it has used its slot since it was started anew. One that was made meanwhile counts as used then. */
function isReached(
  restartedMs: number | undefined,
  slotSince: number | undefined,
  { slot, source, nowMs }: Look,
): boolean {
  if (restartedMs === undefined || slotSince === undefined) return false;
  const idleMs = source?.idleMs.get(slot) ?? undefined;
  return idleMs !== undefined && nowMs - idleMs >= Math.max(restartedMs, slotSince);
}

/** How one stands that has nobody to follow, or is not up: the time does not count. */
export function leftAlone(before: StandStill, nowMs: number): StandStill {
  return { ...before, since: nowMs };
}

/** How one stands whose server is stopped or has been started anew: if it had stood still before, its time begins again. */
export function startedAnew(before: StandStill, nowMs: number): StandStill {
  if (before.restartedMs !== undefined || nowMs - before.since < silentMs) return before;
  return { ...before, restartedMs: before.seenMs, since: nowMs };
}

/** What one that stands still is to those who decide. */
export function strayOf(still: StandStill, { name, at, source, nowMs }: Look): Stray {
  const { replayed, received, isAhead, restartedMs, hasReached } = still;
  const forMs = nowMs - still.since;
  const isKnown = source !== undefined && replayed !== undefined && received !== undefined && !isAhead;
  return {
    name,
    forMs,
    isRestarted: restartedMs !== undefined,
    isLost: isKnown && at !== undefined && forMs >= silentMs && received < source.oldest,
    isApart: isKnown && hasReached && replayed < source.position,
  };
}
