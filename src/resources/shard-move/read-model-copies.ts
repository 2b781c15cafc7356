import type { ReadReplicaSet } from '../read-replica-set/model.ts';
import type { ShardMove } from './model.ts';

/** The longest that a move waits: later it goes on, and the read model copies once more. */
const patienceMs = 900_000;

/**
 * Why a move does not begin yet: a read model copies its tables, which a bucket that moves meanwhile would spoil, or does not
 * follow the target yet. It is only put off, and only at first: what has begun goes on.
 */
export function readModelThatCopies(
  { metadata, spec }: ShardMove,
  sets: readonly ReadReplicaSet[],
  now: Date,
): string | undefined {
  if (now.getTime() - Date.parse(metadata.creationTimestamp ?? '') > patienceMs) return undefined;
  for (const set of sets) {
    const { conditions, model } = set.status ?? {};
    const isLogical = set.spec.mode === 'logical' && set.spec.suspend !== true;
    if (!isLogical || set.metadata.deletionTimestamp !== undefined || (model?.members ?? []).length === 0)
      continue;
    const copying = conditions?.find(({ type }) => type === 'Copying');
    if (copying?.status === 'True' && now.getTime() - Date.parse(copying.lastTransitionTime) < patienceMs)
      return `read model "${set.metadata.name}" copies its tables`;
    const isServing = conditions?.some(({ type, status }) => type === 'Ready' && status === 'True');
    if (isServing === true && spec.to !== undefined && model?.shards.includes(spec.to) === false)
      return `read model "${set.metadata.name}" does not follow shard ${spec.to} yet`;
  }
  return undefined;
}
