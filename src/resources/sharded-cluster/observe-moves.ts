import type { Change } from '../../runtime/informer.ts';
import type { MovingBucket } from '../../sharding/shard-catalog.ts';
import type { ShardMove } from '../shard-move/model.ts';
import { isOver } from '../shard-move/record.ts';
import type { ShardedCluster } from './model.ts';
import { byCluster, clusterIndexValue, type Sources } from './sources.ts';

/** Whether a move of this state changes what its buckets are at the moment. */
function isSwitching({ status }: ShardMove): boolean {
  return status?.phase === 'switch' || status?.phase === 'finish';
}

/** Whether a move is over that has made other buckets of some: places and tables of these are waited for. */
export function hasReshaped({ old, current }: Change<ShardMove>): boolean {
  if (old === undefined || current === undefined || current.spec.operation === 'move') return false;
  return isSwitching(old) && !isSwitching(current);
}

/** A move says that it switches before it changes the map, and that it has finished when both shards have followed. */
export function switchingBuckets(cluster: ShardedCluster, sources: Sources): MovingBucket[] {
  return movesOf(cluster, sources)
    .filter(isSwitching)
    .flatMap(({ spec: { group }, status }) =>
      [...(status?.parents ?? []), ...(status?.children ?? [])].map(({ id }) => ({ group, bucket: id })),
    );
}

/** Shards that buckets are leaving or reaching; a move in its retention moves nothing. */
export function movingShards(cluster: ShardedCluster, sources: Sources): string[] {
  return movesOf(cluster, sources)
    .filter(({ status }) => status?.phase !== 'retain' && !isOver(status))
    .flatMap(({ spec, status }) => [status?.from ?? spec.from ?? spec.to, spec.to]);
}

function movesOf({ metadata }: ShardedCluster, sources: Sources): readonly ShardMove[] {
  return sources.moves.cache.byIndex(byCluster, clusterIndexValue(metadata.namespace, metadata.name));
}
