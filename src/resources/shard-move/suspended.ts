import type { ShardedCluster } from '../sharded-cluster/model.ts';
import type { ShardMove } from './model.ts';
import { isCancelled, isYetToBegin } from './record.ts';

/**
 * Why nothing is done for a move, whose cluster is suspended. In the switch writers wait: it is brought to its end. To cancel what
 * is on no shard changes nothing there.
 */
export function suspendedText(
  shardMove: ShardMove,
  { spec }: Pick<ShardedCluster, 'spec'>,
): string | undefined {
  const { phase } = shardMove.status ?? {};
  if (!spec.suspend || phase === 'switch') return undefined;
  if (!isCancelled(shardMove)) return 'the cluster is suspended';
  if (isYetToBegin(shardMove)) return undefined;
  const isMoved = phase === 'finish' || phase === 'retain';
  const what = isMoved ? 'what the old shard still has is taken away' : 'what was begun is taken back';
  return `spec.suspend of the cluster is true: ${what} when it is false again`;
}
