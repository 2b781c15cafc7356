import { bucketsText } from './buckets.ts';
import { brokenCopy, end, streamOf, wait } from './decision.ts';
import { removeStream, rollForward } from './forward.ts';
import type { Decision, Ending, MapBucket, MoveRecord, MoveView, ShardFacts } from './model.ts';
import { restart, rollBack, takeBack } from './roll-back.ts';
import { switchOver } from './switch.ts';

/** Whether the map has been changed in favour of the target: from here on there is no way back. */
export function isDecided(view: MoveView, map: MapBucket): boolean {
  const { phase } = view.record;
  return map.owner === view.move.to && (phase === 'switch' || phase === 'finish' || phase === 'retain');
}

/**
 * The next step of a move. The map decides: owner = target, roll forward; `pending` = this attempt, undecided; neither, roll
 * back. What is not known is waited for; nothing is concluded from it. Total, and the same for whoever asks.
 */
export function nextStep(view: MoveView): Decision {
  const { move, record, map } = view;
  if (map === 'unknown') return wait('MapUnknown', 'the ShardMap cannot be read');
  if (isEnded(record)) return afterEnd(view, map);
  if (isDecided(view, map)) return rollForward(view, map);
  if (record.phase === 'finish' && map.owner === move.from) {
    return wait(
      'MapContradicts',
      `the ShardMap gives the bucket back to ${move.from}: put the newer map back`,
      60_000,
    );
  }
  // The bucket may have gone on to a third shard; what this move left behind is cleaned up all the same.
  if (record.phase === 'finish' || record.phase === 'retain') return rollForward(view, map);
  if (record.ending !== undefined) return rollBack(view, map, record.ending);
  if (move.cancel) return cancel(view);
  if (map.owner !== move.from) {
    const message = `${bucketsText(move.parents)} of group "${move.group}": the owner is ${map.owner}, not ${move.from}`;
    return end(view, 'failed', 'NotTheOwner', message);
  }
  if (map.pending !== undefined && map.pending.move !== move.key) {
    return wait('BucketMoving', `the bucket is being moved by ${map.pending.move}`, 5_000);
  }
  if (record.phase === 'switch') return switchOver(view, map);
  if (record.notBefore !== undefined && view.now < record.notBefore) {
    const last = record.lastEnding;
    return wait(last?.reason ?? 'Waiting', last?.message ?? 'trying again', record.notBefore - view.now);
  }
  if (map.pending !== undefined && map.pending.attempt < record.attempt) {
    return { kind: 'act', step: { kind: 'clear-pending', attempt: map.pending.attempt } };
  }
  return build(view, map);
}

function isEnded({ phase }: MoveRecord): boolean {
  return phase === 'done' || phase === 'failed' || phase === 'cancelled';
}

/** Before the first step nothing has been made: shards need not answer, and one of them may never have come up. */
function cancel(view: MoveView): Decision {
  const ending: Ending = { reason: 'Cancelled', message: 'spec.cancel is set', next: 'cancelled' };
  if (view.record.phase === 'preflight')
    return { kind: 'record', record: restart(view, ending, 'preflight') };
  return end(view, ending.next, ending.reason, ending.message);
}

/** An operator that was paused may have made something of an attempt after its end: nobody else would take it back. */
function afterEnd(view: MoveView, map: MapBucket): Decision {
  const { record, source, target } = view;
  if (source === 'unknown' || target === 'unknown') return { kind: 'ended' };
  const left = record.phase === 'done' ? removeStream(view, source, target) : takeBack(view, map, false);
  if (left !== undefined) return left;
  return source.retired ? { kind: 'act', step: { kind: 'drop-retired' } } : { kind: 'ended' };
}

/** The steps 0 to 5: everything before the bucket is announced. */
function build(view: MoveView, map: MapBucket): Decision {
  const { record, source, target, move } = view;
  if (source === 'unknown') return wait('SourceUnknown', `shard ${move.from} does not answer`);
  if (target === 'unknown') return wait('TargetUnknown', `shard ${move.to} does not answer`);
  const lost = record.phase === 'preflight' ? undefined : brokenCopy(view, source, target);
  if (lost !== undefined) return lost;
  const { copy } = record;
  const to = (phase: MoveRecord['phase']): MoveRecord => ({ ...record, phase });
  switch (record.phase) {
    case 'preflight': {
      if (view.obstacles === 'unknown')
        return wait('Preflight', 'the shards have not answered all questions');
      const [first] = [...view.obstacles].sort((a, b) => Number(b.permanent) - Number(a.permanent));
      if (first?.permanent === true) return end(view, 'failed', first.code, first.message);
      if (first !== undefined) return wait(first.code, first.message, 5_000);
      const timelines = { source: source.timeline, target: target.timeline };
      // The record claims both shards; only what is read after that tells whether others have.
      const pause = wait('Working', 'looking at other moves', 0);
      return { kind: 'record', record: { ...to('prepare'), timelines }, pause };
    }
    case 'prepare': {
      const rivalry = keepOut(view, source, target);
      if (rivalry !== undefined) return rivalry;
      for (const facts of [source, target]) {
        const { guard } = facts;
        if (guard !== undefined && guard.move !== move.key) {
          return wait('BucketMoving', `a shard still keeps what move ${guard.move} needs`, 5_000);
        }
        if (guard !== undefined && guard.copy !== copy)
          return end(view, 'copy', 'CopyLeft', 'a copy was left');
      }
      if (target.leaves !== 'absent' && target.guard === undefined) {
        const message = `shard ${move.to} has tables with the names of the bucket's leaves: drop or rename them`;
        return end(view, 'failed', 'LeafInTheWay', message);
      }
      const staged = target.leaves === 'staged' && target.guard !== undefined && source.guard !== undefined;
      return staged ? { kind: 'record', record: to('copy') } : { kind: 'act', step: { kind: 'stage', copy } };
    }
    case 'copy':
      return startCopy(view, source, target);
    case 'catch-up':
      return { kind: 'act', step: { kind: 'catch-up', copy }, record: to('index') };
    case 'index':
      return { kind: 'act', step: { kind: 'index', copy }, record: to('verify') };
    case 'verify':
      return { kind: 'act', step: { kind: 'verify', copy }, record: to('announce') };
    default:
      return announce(view, map, source, target);
  }
}

/**
 * A shard takes part in one move at a time. Of two moves that have claimed it, one at least reads the other's claim: what was
 * claimed later is given up, and nothing is made while a claim of another is there.
 */
function keepOut(
  { move, record, rival }: MoveView,
  source: ShardFacts,
  target: ShardFacts,
): Decision | undefined {
  // What has been begun goes on: nobody else began beside it.
  if ([source, target].some(({ guard }) => guard?.move === move.key)) return undefined;
  if (rival === 'unknown') return wait('Preflight', 'it is not known which other moves there are');
  if (rival === 'none') return undefined;
  const pause = wait('ShardBusy', rival.message, rival.isAhead ? 5_000 : 500);
  return rival.isAhead ? { kind: 'record', record: { ...record, phase: 'preflight' }, pause } : pause;
}

function startCopy(view: MoveView, source: ShardFacts, target: ShardFacts): Decision {
  const { record } = view;
  const { copy } = record;
  const { published, slot, subscription } = streamOf(view, source, target);
  const copied = target.guard?.copied === true;
  if (!published) return { kind: 'act', step: { kind: 'publish', copy } };
  if (!copied && source.guard?.copying === true) {
    // The snapshot went with the session that had it.
    return end(view, 'copy', 'CopyInterrupted', 'the copy was interrupted: copying again');
  }
  if (!copied) return { kind: 'act', step: { kind: 'copy-rows', copy } };
  if (slot === undefined || slot.lost) {
    return end(view, 'copy', 'SlotLost', 'the replication slot on the source is gone');
  }
  if (subscription === undefined) return { kind: 'act', step: { kind: 'subscribe', copy } };
  return { kind: 'record', record: { ...record, phase: 'catch-up' } };
}

/** The shards are told of the attempt first: so they can refuse what comes from a dead one. */
function announce(view: MoveView, map: MapBucket, source: ShardFacts, target: ShardFacts): Decision {
  const { record, now } = view;
  const { attempt } = record;
  if (map.pending?.attempt === attempt) {
    return { kind: 'record', record: { ...record, phase: 'switch', fenceTries: 0, switchedAt: now } };
  }
  for (const facts of [source, target]) {
    if (facts.prepared.length > 0) {
      return end(view, 'switch', 'TransactionLeft', 'a prepared transaction of an older attempt was left');
    }
  }
  const armed = [source, target].every(
    ({ guard }) => guard?.armed === true && guard.attempt === attempt && guard.move === view.move.key,
  );
  if (!armed) {
    if ([source, target].some(({ guard }) => guard !== undefined && guard.attempt > attempt)) {
      return end(view, 'switch', 'AttemptIsOver', 'a shard already knows that the attempt is over');
    }
    return { kind: 'act', step: { kind: 'arm', attempt } };
  }
  return { kind: 'act', step: { kind: 'announce', attempt } };
}
