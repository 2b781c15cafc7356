import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import { firstRecord, type Move, type MoveRecord } from '../../sharding/move/model.ts';
import { moveId } from '../../sharding/move/names.ts';
import type { ShardMove } from './model.ts';

/** The move that a ShardMove asks for, from the shard that owned the buckets when it began. */
export function moveOf({ metadata, spec, status }: ShardMove, from: string): Move {
  const parents = status?.parents ?? [];
  const id = moveId(metadata.uid);
  return {
    key: `${metadata.name}.${id}`,
    id,
    group: spec.group,
    parents,
    children: status?.children ?? parents,
    from,
    to: spec.to,
    verify: spec.verify,
    cancel: isCancelled({ metadata, spec }),
    retentionMs: metadata.deletionTimestamp === undefined ? (durationMs(spec.retention) ?? 0) : 0,
  };
}

/** Whether a move shall end; whoever deletes a ShardMove wants that, too. */
export function isCancelled({ metadata, spec }: Pick<ShardMove, 'metadata' | 'spec'>): boolean {
  return spec.cancel === true || metadata.deletionTimestamp !== undefined;
}

/** Whether nothing of a move is on any shard: it has not begun, or begins again after an attempt that was taken back. */
export function isYetToBegin({ status }: Pick<ShardMove, 'status'>): boolean {
  const { phase = 'preflight', ending } = status ?? {};
  return phase === 'preflight' && ending === undefined;
}

/** What the status remembers of a move. */
export function recordOf(status: ShardMoveStatus | undefined): MoveRecord {
  if (status?.phase === undefined) return firstRecord;
  const { attempt, copy, failures, fenceTries, timelines, ending, lastEnding } = status;
  return {
    phase: status.phase,
    attempt: attempt ?? firstRecord.attempt,
    copy: copy ?? firstRecord.copy,
    failures: failures ?? firstRecord.failures,
    fenceTries: fenceTries ?? firstRecord.fenceTries,
    ...(timelines === undefined ? {} : { timelines }),
    ...(ending === undefined ? {} : { ending }),
    ...(lastEnding === undefined ? {} : { lastEnding }),
    ...time('switchedAt', status.switchedAt),
    ...time('notBefore', status.notBefore),
    ...time('finishedAt', status.finishedAt),
  };
}

function time<K extends string>(name: K, text: string | undefined): Partial<Record<K, number>> {
  return text === undefined ? {} : ({ [name]: Date.parse(text) } as Partial<Record<K, number>>);
}

/** The status with another record; phases get the time at which they began. */
export function withRecord(
  status: ShardMoveStatus | undefined,
  record: MoveRecord,
  now: Date,
): ShardMoveStatus {
  const {
    switchedAt: _switchedAt,
    notBefore: _notBefore,
    finishedAt: _finishedAt,
    ending: _ending,
    lastEnding: _lastEnding,
    timelines: _timelines,
    ...kept
  } = status ?? {};
  const { phase, attempt, copy, failures, fenceTries, timelines, ending, lastEnding } = record;
  const phases = kept.phases ?? [];
  const isEnd = phase === 'failed' || phase === 'cancelled';
  const finishedAt = record.finishedAt ?? (isEnd ? dateOf(status?.finishedAt) : undefined);
  return {
    ...kept,
    phase,
    attempt,
    copy,
    failures,
    fenceTries,
    ...(timelines === undefined ? {} : { timelines: { ...timelines } }),
    ...(ending === undefined ? {} : { ending: { ...ending } }),
    ...(lastEnding === undefined ? {} : { lastEnding: { ...lastEnding } }),
    ...(record.switchedAt === undefined ? {} : { switchedAt: text(record.switchedAt) }),
    ...(record.notBefore === undefined ? {} : { notBefore: text(record.notBefore) }),
    ...(finishedAt === undefined && !isEnd ? {} : { finishedAt: text(finishedAt ?? now.getTime()) }),
    phases:
      phases.at(-1)?.name === phase
        ? phases
        : [...phases, { name: phase, startedAt: text(now.getTime()) }].slice(-mostPhases),
  };
}

/** As many as the schema admits. */
const mostPhases = 32;

function dateOf(written: string | undefined): number | undefined {
  return written === undefined ? undefined : Date.parse(written);
}

/** With milliseconds: pauses of a fence are shorter than a second. */
function text(ms: number): string {
  return new Date(ms).toISOString();
}

/** Whether nothing is left to be done for the move. */
export function isOver(status: ShardMoveStatus | undefined): boolean {
  const phase = status?.phase;
  return phase === 'done' || phase === 'failed' || phase === 'cancelled';
}
