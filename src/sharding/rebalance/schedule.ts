import type { Move, PlannedMove } from './model.ts';

/** Time of a move beside its copy: slots, catching up, checks, the fence. */
const overheadSeconds = 5;

/**
 * The moves that may start now: at most one per source and per target at once, and none whose shards an earlier move that
 * has not started still touches, since it was judged on what that one leaves.
 */
export function startable(
  moves: readonly PlannedMove[],
  running: readonly Move[],
  maxConcurrent: number,
): PlannedMove[] {
  const busy = new Set(running.flatMap(({ from, to }) => [from, to]));
  const started: PlannedMove[] = [];
  for (const move of moves) {
    if (running.length + started.length >= maxConcurrent) break;
    if (!busy.has(move.from) && !busy.has(move.to)) started.push(move);
    busy.add(move.from);
    busy.add(move.to);
  }
  return started;
}

/** Seconds until the last of the moves is done, when each copies at the given rate. */
export function estimateSeconds(
  moves: readonly PlannedMove[],
  running: readonly Move[],
  maxConcurrent: number,
  bytesPerSecond: number,
): number {
  let waiting = [...moves];
  let now = 0;
  // How far the running ones are is not known here; they count as just started.
  let active = running.map((move) => ({ move, endsAt: overheadSeconds }));
  while (waiting.length > 0 || active.length > 0) {
    const current = active.map(({ move }) => move);
    const started = startable(waiting, current, Math.max(1, maxConcurrent));
    waiting = waiting.filter((move) => !started.includes(move));
    active.push(
      ...started.map((move) => ({ move, endsAt: now + overheadSeconds + move.bytes / bytesPerSecond })),
    );
    if (active.length === 0) break;
    now = Math.min(...active.map(({ endsAt }) => endsAt));
    active = active.filter(({ endsAt }) => endsAt > now);
  }
  return now;
}
