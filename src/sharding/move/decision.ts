import type { Decision, Ending, MoveView, ShardFacts } from './model.ts';
import { copyName, parseGid, type Side } from './names.ts';

/** The longest that a bucket may be fenced before the attempt is rolled back. */
export const budgetMs = 10_000;
/** Attempts that may be rolled back before the move gives up. */
const maxFailures = 8;

/** Waits a moment. */
export function wait(reason: string, message: string, afterMs = 1_000): Extract<Decision, { kind: 'wait' }> {
  return { kind: 'wait', reason, message, afterMs };
}

/**
 * Begins to roll the attempt back. Taking back needs a look that began after the end was recorded: what was seen may be from
 * before the attempt.
 */
export function end(
  view: MoveView,
  next: Ending['next'],
  reason: string,
  message: string,
): Extract<Decision, { kind: 'record' }> {
  const given = next === 'failed' || next === 'cancelled';
  const last = !given && view.record.failures + 1 >= maxFailures;
  const ending: Ending = last
    ? { reason, message: `${message}; given up after ${maxFailures} attempts`, next: 'failed' }
    : { reason, message, next };
  const pause = wait('RollingBack', ending.message, 0);
  return { kind: 'record', record: { ...view.record, ending }, pause };
}

/** What there is of the stream of the copy that the record names. */
export function streamOf(view: MoveView, source: ShardFacts, target: ShardFacts) {
  const name = copyName(view.move.id, view.record.copy);
  return {
    published: source.publications.includes(name) && source.roles.includes(name),
    slot: source.slots.find((slot) => slot.name === name),
    subscription: target.subscriptions.find((subscription) => subscription.name === name),
  };
}

/** What of a copy is no longer as it was when it was made: it is never mended, but made again. */
export function brokenCopy(view: MoveView, source: ShardFacts, target: ShardFacts): Decision | undefined {
  const { move, record } = view;
  const again = (reason: string, message: string) => end(view, 'copy', reason, message);
  // The target may lack rows that its source counts as delivered, or have some that its source has lost.
  for (const [name, facts, known] of [
    [move.from, source, record.timelines?.source],
    [move.to, target, record.timelines?.target],
  ] as const) {
    if (facts.timeline !== known)
      return again('FailedOver', `shard ${name} has a new primary: copying again`);
  }
  if (record.phase === 'prepare' || record.phase === 'copy') return undefined;
  const { slot, subscription } = streamOf(view, source, target);
  if (slot === undefined || slot.lost) return again('SlotLost', 'the replication slot on the source is gone');
  if (subscription?.enabled !== true)
    return again('SubscriptionLost', 'the subscription on the target is gone');
  for (const { guard } of [source, target]) {
    if (guard?.move === move.key && guard.copy === record.copy) continue;
    return again('GuardLost', 'the record of the move on a shard is gone');
  }
  if (target.leaves !== 'staged') return again('LeavesLost', 'the leaves on the target are gone');
  return undefined;
}

/** The prepared transaction of an attempt on one side. */
export function preparedOf(facts: ShardFacts, attempt: number, side: Side) {
  for (const { gid, since } of facts.prepared) {
    const parsed = parseGid(gid);
    if (parsed?.attempt === attempt && parsed.side === side) return { gid, since, epoch: parsed.epoch };
  }
  return undefined;
}
