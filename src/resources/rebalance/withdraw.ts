import type { ShardMove } from '../shard-move/model.ts';
import { isCancelled, isYetToBegin } from '../shard-move/record.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { managedByLabel } from '../sharded-cluster/names.ts';

/** ShardMoves that are taken back, and why. */
export interface Withdrawal {
  readonly moves: readonly ShardMove[];
  readonly why: string;
}

/** What the rebalancer wrote, and has not begun, when it may move nothing any more. What is under way goes on, and so does what a user wrote. */
export function withdrawalOf(
  { spec: { rebalance } }: Pick<ShardedCluster, 'spec'>,
  moves: readonly ShardMove[],
): Withdrawal | undefined {
  const { mode, dryRun } = rebalance;
  if (mode === 'auto' && !dryRun) return undefined;
  const own = moves.filter(
    (move) =>
      move.metadata.labels?.[managedByLabel] === 'herdsman' && isYetToBegin(move) && !isCancelled(move),
  );
  if (own.length === 0) return undefined;
  return {
    moves: own,
    why: mode === 'auto' ? 'spec.rebalance.dryRun is true' : `spec.rebalance.mode is ${mode}`,
  };
}
