import type { ShardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { effectiveDurability } from '../desired/dynamic-config.ts';
import { type ObservedShard, type PlanInput, proceed, type StepResult } from '../model.ts';

/** Whether commits wait for a standby, where that was promised. */
export function confirmsCommits(
  spec: Pick<ShardedClusterSpec, 'durability' | 'members'>,
  { group }: Pick<ObservedShard, 'group'>,
): boolean {
  if (effectiveDurability(spec) === 'asynchronous' || group.state !== 'present') return true;
  return [...group.value.members.values()].some((member) => member.sync);
}

/** A shard is not what was promised before commits wait for a standby: some seconds after the standbys are there. */
export function durability({ cluster, observed }: PlanInput): StepResult {
  const shard = observed.shards.find((candidate) => !confirmsCommits(cluster.spec, candidate));
  if (shard === undefined) return proceed;
  const message = `shard ${shard.name}: no standby confirms commits yet`;
  return { kind: 'wait', reason: 'NoSynchronousStandby', message, afterMs: 1_000 };
}
