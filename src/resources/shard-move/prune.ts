import { managedByLabel } from '../sharded-cluster/names.ts';
import type { ShardMove } from './model.ts';
import { isOver } from './record.ts';

/** Finished moves of a cluster that are kept, as a record of what was done. */
const keptCount = 100;
/** The rebalancer looks back at all that are younger. */
const youngMs = 3_600_000;
/** Older ones go, however few there are. */
const oldMs = 7 * 24 * 3_600_000;

/**
 * The ShardMoves that have served: those that the operator wrote, whose retention is over. What a person or a GitOps tool wrote
 * is theirs, and would be carried out again if they wrote it again.
 */
export function prunable(moves: readonly ShardMove[], now: Date): ShardMove[] {
  const ageOf = ({ metadata, status }: ShardMove) =>
    now.getTime() - Date.parse(status?.finishedAt ?? metadata.creationTimestamp ?? now.toISOString());
  const ended = moves
    .filter(
      ({ metadata, status }) =>
        isOver(status) &&
        metadata.labels?.[managedByLabel] === 'herdsman' &&
        metadata.deletionTimestamp === undefined,
    )
    .toSorted((a, b) => ageOf(a) - ageOf(b));
  const surplus = new Set(ended.filter((move) => !isLookedBackAt(move)).slice(keptCount));
  return ended.filter((move) => {
    const age = ageOf(move);
    return age > oldMs || (surplus.has(move) && age > youngMs);
  });
}

/** The more splits or isolations have failed, the longer the rebalancer rests: up to six hours after the last of many. */
function isLookedBackAt({ spec, status }: ShardMove): boolean {
  return status?.phase === 'failed' && (spec.operation === 'split' || spec.operation === 'isolate');
}
