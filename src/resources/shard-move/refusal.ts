import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { layoutOf } from '../../sharding/layout.ts';
import { placementOf } from '../../sharding/rebalance/placement.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { wantedShards } from '../sharded-cluster/steps/shards.ts';
import type { ShardMove } from './model.ts';

/** Why a move is never begun. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** What is wrong with a move that has not begun, as far as map and spec tell; `undefined` when nothing is. */
export function refusalOf(
  { spec }: ShardMove,
  cluster: ShardedCluster,
  map: ShardMapSpec,
): Refusal | undefined {
  const id = spec.buckets[0];
  const group = map.groups.find((candidate) => candidate.name === spec.group);
  const no = (reason: string, message: string): Refusal => ({ reason, message });
  if (group === undefined) {
    const names = map.groups.map(({ name }) => name).join(', ') || 'none';
    return no('NoSuchGroup', `there is no group "${spec.group}": write one of the ShardMap's (${names})`);
  }
  const bucket = group.buckets.find((candidate) => candidate.id === id);
  if (bucket === undefined) {
    return no('NoSuchBucket', `group "${spec.group}" has no bucket ${id}: see the ShardMap for its numbers`);
  }
  const shards = wantedShards(cluster);
  if (!shards.some(({ name }) => name === spec.to)) {
    const names = shards.map(({ name }) => name).join(', ');
    return no('NoSuchShard', `there is no shard "${spec.to}" to move to: write one of ${names}`);
  }
  if (bucket.shard === spec.to) {
    return no('AlreadyThere', `bucket ${id} of group "${spec.group}" is on shard ${spec.to} already`);
  }
  if (spec.from !== undefined && bucket.shard !== spec.from) {
    const owner = `bucket ${id} of group "${spec.group}" belongs to shard ${bucket.shard}, not to ${spec.from}`;
    return no('NotTheOwner', `${owner}: write "from: ${bucket.shard}", or leave it out`);
  }
  const { allowed } = placementOf(bucket, group, layoutOf(cluster.spec.tables), shards);
  if (allowed !== undefined && !allowed.includes(spec.to)) {
    const region = `region "${bucket.region}" may only be on ${allowed.join(', ') || 'no shard that is there'}`;
    return no('NotAllowed', `${region}: name one of them, or change the region in spec.tables`);
  }
  return undefined;
}
