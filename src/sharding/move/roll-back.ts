import { wait } from './decision.ts';
import { isPublished, isSubscribed } from './forward.ts';
import type { Decision, Ending, MapBucket, MoveRecord, MoveView } from './model.ts';

/** How long a move rests after an attempt was rolled back. */
function restMs(failures: number): number {
  return Math.min(500 * 2 ** failures, 30_000);
}

/** Rolls the attempt back, and says what comes after it. */
export function rollBack(view: MoveView, map: MapBucket, ending: Ending): Decision {
  const keepsCopy = ending.next === 'switch';
  const step = takeBack(view, map, keepsCopy);
  if (step !== undefined) return step;
  return { kind: 'record', record: restart(view, ending, keepsCopy ? 'catch-up' : 'preflight') };
}

/**
 * Takes an attempt back; `undefined` when nothing is left of it. The announcement goes first, since nobody can change the map in
 * its favour after that; then the prepared transactions; then both shards are told that the attempt is over; then what was made.
 */
export function takeBack(view: MoveView, map: MapBucket, keepsCopy: boolean): Decision | undefined {
  const { record, source, target, move } = view;
  const { copy } = record;
  if (map.pending?.move === move.key) {
    return { kind: 'act', step: { kind: 'clear-pending', attempt: map.pending.attempt } };
  }
  // Writers wait for the source's half; the target may be away for long.
  if (source === 'unknown') return wait('SourceUnknown', `shard ${move.from} does not answer`, 250);
  const [fence] = source.prepared;
  if (fence !== undefined) return { kind: 'act', step: { kind: 'roll-back-source', gid: fence.gid } };
  if (target === 'unknown') return wait('TargetUnknown', `shard ${move.to} does not answer`, 250);
  const [open] = target.prepared;
  if (open !== undefined) return { kind: 'act', step: { kind: 'roll-back-target', gid: open.gid } };
  const mine = [source, target].filter(({ guard }) => guard?.move === move.key);
  if (mine.some(({ guard }) => guard !== undefined && (guard.armed || guard.attempt < record.attempt))) {
    return { kind: 'act', step: { kind: 'disarm', attempt: record.attempt } };
  }
  if (keepsCopy) return undefined;
  if (source.unsettled && source.leaves === 'attached') return { kind: 'act', step: { kind: 'settle' } };
  if (isSubscribed(source, target)) return { kind: 'act', step: { kind: 'unsubscribe', copy } };
  if (target.guard?.move === move.key) {
    return { kind: 'act', step: { kind: 'unstage', copy: target.guard.copy } };
  }
  if (isPublished(source)) return { kind: 'act', step: { kind: 'unpublish', copy } };
  if (source.guard?.move === move.key) return { kind: 'act', step: { kind: 'forget', copy } };
  return undefined;
}

/** What the record of a move says after an attempt of which nothing is left. */
export function restart(view: MoveView, ending: Ending, phase: MoveRecord['phase']): MoveRecord {
  const { attempt, copy, failures } = view.record;
  const over = ending.next === 'failed' || ending.next === 'cancelled';
  return {
    phase: ending.next === 'failed' || ending.next === 'cancelled' ? ending.next : phase,
    attempt: attempt + 1,
    copy: ending.next === 'switch' ? copy : copy + 1,
    failures: failures + 1,
    fenceTries: 0,
    ...(ending.next === 'switch' && view.record.timelines !== undefined
      ? { timelines: view.record.timelines }
      : {}),
    ...(over ? { finishedAt: view.now } : { notBefore: view.now + restMs(failures) }),
    lastEnding: ending,
  };
}
