import { brokenCopy, budgetMs, end, preparedOf, wait } from './decision.ts';
import type { Decision, MapBucket, MoveRecord, MoveView } from './model.ts';

/** Fences of one attempt that may fail to get their locks. */
const maxFenceTries = 30;

/** How long to leave the writers alone after a fence that did not get its locks. */
export function fencePause(tries: number): number {
  return Math.min(50 * 2 ** (tries - 1), 2_000);
}

/**
 * The steps 6 to 10, while `pending` is this attempt: fence, drain, open, gate, and the change of the map. It ends at once
 * when anything is not as it was when the copy was made, or when the bucket has been fenced for longer than the budget.
 */
export function switchOver(view: MoveView, map: MapBucket): Decision {
  const { record, source, target, move, now } = view;
  const { attempt, copy } = record;
  const again = (reason: string, message: string) => end(view, 'switch', reason, message);
  if (map.pending === undefined) return again('NotAnnounced', 'the announcement was taken back');
  if (map.pending.attempt !== attempt)
    return again('OtherAttempt', 'another attempt of this move is announced');
  if (source === 'unknown' || target === 'unknown') {
    const name = source === 'unknown' ? move.from : move.to;
    if (now - (record.switchedAt ?? now) > budgetMs)
      return again('ShardSilent', `shard ${name} does not answer`);
    return wait('ShardUnknown', `shard ${name} does not answer`, 250);
  }
  const fence = preparedOf(source, attempt, 'fence');
  const open = preparedOf(target, attempt, 'open');
  if (fence !== undefined && now - fence.since > budgetMs) {
    return again('BudgetSpent', `the bucket was fenced for more than ${budgetMs} ms`);
  }
  const broken = brokenCopy(view, source, target);
  if (broken !== undefined) return broken;
  if (fence === undefined) {
    if (open !== undefined) return again('FenceLost', 'the fence is gone');
    if (record.fenceTries >= maxFenceTries) {
      return again('FenceBlocked', `transactions held the bucket through ${maxFenceTries} tries to fence it`);
    }
    if (record.notBefore !== undefined && now < record.notBefore) {
      return wait('FenceBlocked', 'transactions hold the bucket', record.notBefore - now);
    }
    return {
      kind: 'act',
      step: { kind: 'fence', attempt, epoch: map.mapEpoch + 1, from: map.epoch },
    };
  }
  if (open !== undefined && open.epoch !== fence.epoch)
    return again('EpochsDiffer', 'the two halves do not fit');
  if (open === undefined) {
    if (view.drained !== fence.gid) return { kind: 'act', step: { kind: 'drain', copy, gid: fence.gid } };
    return { kind: 'act', step: { kind: 'open', attempt, epoch: fence.epoch } };
  }
  if (view.gated !== true) return { kind: 'act', step: { kind: 'gate', fence: fence.gid, open: open.gid } };
  return { kind: 'act', step: { kind: 'decide', attempt, epoch: fence.epoch } };
}

/** The record after a fence that did not get its locks. */
export function afterFenceRefused(record: MoveRecord, now: number): MoveRecord {
  const fenceTries = record.fenceTries + 1;
  return { ...record, fenceTries, notBefore: now + fencePause(fenceTries) };
}
