import { preparedOf, wait } from './decision.ts';
import type { Decision, MapBucket, MoveRecord, MoveView, ShardFacts } from './model.ts';

/**
 * The steps 11 and 12, after the map was changed: commits the target's half, then the source's, and takes away what the move
 * needed. A half that a failover lost is made again, since the map has decided.
 */
export function rollForward(view: MoveView, map: MapBucket): Decision {
  const { record, move } = view;
  if (record.phase === 'retain') return retain(view);
  if (record.phase === 'finish') return finish(view);
  const { source, target } = view;
  if (target === 'unknown') return wait('TargetUnknown', `shard ${move.to} does not answer`, 250);
  const { attempt } = record;
  const open = preparedOf(target, attempt, 'open');
  if (open !== undefined) return { kind: 'act', step: { kind: 'commit-target', gid: open.gid } };
  if (target.marker !== map.epoch) {
    return { kind: 'act', step: { kind: 'open', attempt, epoch: map.epoch } };
  }
  if (source === 'unknown') return wait('SourceUnknown', `shard ${move.from} does not answer`, 250);
  const fence = preparedOf(source, attempt, 'fence');
  if (fence !== undefined) return { kind: 'act', step: { kind: 'commit-source', gid: fence.gid } };
  if (source.marker !== undefined) {
    const step = { kind: 'fence' as const, attempt, epoch: map.epoch, from: source.marker };
    return { kind: 'act', step };
  }
  // An end that somebody recorded came too late.
  const { ending: _, notBefore: __, ...decided } = record;
  return { kind: 'record', record: { ...decided, phase: 'finish' } };
}

function finish(view: MoveView): Decision {
  const { source, target, record, move, now } = view;
  if (target === 'unknown') return wait('TargetUnknown', `shard ${move.to} does not answer`);
  if (source === 'unknown') return wait('SourceUnknown', `shard ${move.from} does not answer`);
  if (isSubscribed(source, target)) return { kind: 'act', step: { kind: 'unsubscribe', copy: record.copy } };
  if (target.unsettled && target.leaves === 'attached') return { kind: 'act', step: { kind: 'settle' } };
  if (source.leaves === 'attached' || source.leaves === 'detaching' || source.leaves === 'mixed') {
    return { kind: 'act', step: { kind: 'detach' } };
  }
  if (source.leaves === 'detached') return { kind: 'act', step: { kind: 'retire' } };
  const left = removeStream(view, source, target);
  if (left !== undefined) return left;
  return { kind: 'record', record: { ...record, phase: 'retain', finishedAt: now } };
}

/** Takes away what the copy needed, when the bucket has its new owner. */
export function removeStream(
  { move, record: { copy } }: MoveView,
  source: ShardFacts,
  target: ShardFacts,
): Decision | undefined {
  if (isSubscribed(source, target)) return { kind: 'act', step: { kind: 'unsubscribe', copy } };
  if (isPublished(source)) return { kind: 'act', step: { kind: 'unpublish', copy } };
  if (source.guard?.move === move.key || target.guard?.move === move.key) {
    return { kind: 'act', step: { kind: 'forget', copy } };
  }
  return undefined;
}

function retain(view: MoveView): Decision {
  const { source, record, move, now } = view;
  const over = (record.finishedAt ?? now) + move.retentionMs;
  if (now < over)
    return wait('Retained', `${move.from} keeps its copy until the retention is over`, over - now);
  if (source === 'unknown') return wait('SourceUnknown', `shard ${move.from} does not answer`);
  if (source.retired) return { kind: 'act', step: { kind: 'drop-retired' } };
  const done: MoveRecord = { ...record, phase: 'done' };
  return { kind: 'record', record: done };
}

/** Whether anything is left of the stream from source to target. */
export function isSubscribed(source: ShardFacts, target: ShardFacts): boolean {
  return target.subscriptions.length + source.slots.length > 0;
}

/** Whether anything is left on the source of what the stream came from. */
export function isPublished(source: ShardFacts): boolean {
  return source.publications.length + source.roles.length > 0;
}
