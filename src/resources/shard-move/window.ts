import { isOpen } from '../../sharding/rebalance/move-window.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { managedByLabel } from '../sharded-cluster/names.ts';
import type { ShardMove } from './model.ts';
import { isCancelled, isYetToBegin } from './record.ts';

/**
 * Why a move that has not begun, or begins again, may not do so now. What the rebalancer wrote keeps to the window that the cluster has
 * by now, also when it had to wait for something else until that has closed.
 */
export function closedWindow(
  shardMove: ShardMove,
  { spec: { rebalance } }: Pick<ShardedCluster, 'spec'>,
  now: Date,
): string | undefined {
  if (!isYetToBegin(shardMove) || isCancelled(shardMove)) return undefined;
  const isOurs = shardMove.metadata.labels?.[managedByLabel] === 'herdsman';
  const own = shardMove.spec.window;
  const window = own ?? (isOurs ? rebalance.window : undefined);
  if (window === undefined || isOpen(window, now)) return undefined;
  const name = own === undefined ? 'spec.rebalance.window of the cluster' : 'spec.window';
  return `${name} lets it start from ${window.start} to ${window.end} UTC`;
}
