import type { ShardedClusterSpec, ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';

/** What the number of shards depends on. */
export interface ShardSettings {
  readonly shards?: Partial<ShardedClusterSpec['shards']> | undefined;
}

/** Number of shards that is wanted: what autoscaling decided from the present `spec.shards.count`, or else that. */
export function desiredShards(
  spec: ShardSettings,
  status: Pick<ShardedClusterStatus, 'autoscaling'> | undefined,
): number {
  const { count = 1, autoscaling } = spec.shards ?? {};
  const decided = status?.autoscaling;
  if (autoscaling === undefined || decided === undefined || decided.base !== count) return count;
  // A dry run changes nothing: the number that was decided before it stands, whatever the limits are by now.
  if (autoscaling.dryRun) return decided.desired;
  return Math.min(autoscaling.maxShards, Math.max(autoscaling.minShards, decided.desired));
}
