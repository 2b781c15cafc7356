import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { ShardAutoscalingSpec, ShardAutoscalingStatus } from '../../api/v1alpha1/shard-autoscaling.ts';
import {
  type AutoscaleDecision,
  type AutoscaleSettings,
  type AutoscaleState,
  decideShards,
  type MetricReading,
  type ShardMetric,
} from '../../sharding/rebalance/autoscale-shards.ts';
import type { RebalanceInput, RebalancePlan } from '../../sharding/rebalance/model.ts';
import { planRebalance } from '../../sharding/rebalance/plan.ts';
import { parseQuantity } from '../sharded-cluster/desired/quantity.ts';
import { emptiestShard, type Holdings } from '../sharded-cluster/emptiest-shard.ts';
import { fewestShards } from '../sharded-cluster/kept-shards.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { wantedNames } from '../sharded-cluster/wanted-shards.ts';
import type { RebalanceView } from './model.ts';

/** What `spec.shards.autoscaling` comes to; `undefined` without it. */
export function decideAutoscaling(
  view: RebalanceView,
  world: RebalanceInput,
  plan: RebalancePlan,
  before: ShardAutoscalingStatus | undefined,
): AutoscaleDecision | undefined {
  const { cluster, measurements, now } = view;
  const { autoscaling } = cluster.spec.shards;
  if (autoscaling === undefined) return undefined;
  const shards = world.shards.filter((shard) => !shard.isDraining).map((shard) => shard.name);
  const larger = planRebalance(withOneMore(world));
  const isQuiet = plan.moves.length === 0 && plan.stuck.length === 0 && world.running.length === 0;
  return decideShards({
    count: cluster.spec.shards.count,
    shards,
    emptiest: emptiestShard(cluster.spec, shards, holdingsOf(plan)),
    metrics: autoscaling.metrics.map(({ type, target }): MetricReading => {
      return {
        type,
        target: parseQuantity(target),
        values: new Map(shards.flatMap((name) => metricOf(type, name, measurements))),
        peakShareAfter: peakShare(type, plan),
        peakShareWithMore: peakShare(type, larger),
      };
    }),
    settings: settingsOf(autoscaling, cluster),
    state: before === undefined ? undefined : stateOf(before),
    isSettled: isQuiet && world.shards.every((shard) => shard.isAvailable && !shard.isDraining),
    nowMs: now.getTime(),
  });
}

function holdingsOf(plan: RebalancePlan): Holdings {
  return new Map(plan.shards.map(({ name, buckets, bytes }) => [name, { buckets, bytes }]));
}

function settingsOf(autoscaling: ShardAutoscalingSpec, cluster: ShardedCluster): AutoscaleSettings {
  const { minShards, maxShards, behavior, dryRun } = autoscaling;
  return {
    // What the spec pins to shards needs them.
    minShards: Math.min(maxShards, Math.max(minShards, fewestShards(cluster.spec, wantedNames(cluster)))),
    maxShards,
    outStabilisationMs: durationMs(behavior.scaleOut.stabilization) ?? 300_000,
    inStabilisationMs: durationMs(behavior.scaleIn.stabilization) ?? 3_600_000,
    dryRun,
  };
}

function metricOf(
  type: ShardMetric,
  name: string,
  { latest, rates, silent }: RebalanceView['measurements'],
): [string, number][] {
  const stats = latest.get(name)?.stats;
  const measured = rates.get(name);
  if (silent.has(name) || stats === undefined || measured === undefined) return [];
  switch (type) {
    case 'CPU':
      return [[name, measured.utilisation * 100]];
    case 'Connections':
      return [[name, stats.connections]];
    case 'TPS':
      return [[name, measured.transactionsPerSecond]];
    case 'Size':
      // What moves leave behind goes by itself: no shard is added for it.
      return stats.leftBytes === null ? [] : [[name, Math.max(0, stats.databaseBytes - stats.leftBytes)]];
  }
}

/** The largest part of all load, or of all bytes, that one shard has after a plan. */
function peakShare(type: ShardMetric, plan: RebalancePlan): number {
  const values = plan.shards.map((shard) => (type === 'Size' ? shard.bytesAfter : shard.loadAfter));
  const total = values.reduce((sum, value) => sum + value, 0);
  return total === 0 ? 0 : Math.max(...values) / total;
}

function withOneMore(world: RebalanceInput): RebalanceInput {
  const capacity = world.shards[0]?.capacity ?? 1;
  return {
    ...world,
    shards: [...world.shards, { name: 'one more', capacity, isDraining: false, isAvailable: true }],
  };
}

function stateOf({
  base,
  desired,
  overSince,
  quietSince,
  changedAt,
}: ShardAutoscalingStatus): AutoscaleState {
  return {
    base,
    desired,
    ...(overSince === undefined ? {} : { overSinceMs: Date.parse(overSince) }),
    ...(quietSince === undefined ? {} : { quietSinceMs: Date.parse(quietSince) }),
    ...(changedAt === undefined ? {} : { changedAtMs: Date.parse(changedAt) }),
  };
}
