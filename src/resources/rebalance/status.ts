import type { LoadStatus, RebalanceStatus } from '../../api/v1alpha1/rebalance.ts';
import type { ShardAutoscalingStatus } from '../../api/v1alpha1/shard-autoscaling.ts';
import type { ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ConditionInput } from '../../runtime/conditions.ts';
import type { AutoscaleDecision, JudgedMetric } from '../../sharding/rebalance/autoscale-shards.ts';
import type { HotSpot } from '../../sharding/rebalance/hot.ts';
import { writeRates } from '../../sharding/rebalance/load-text.ts';
import { bucketText } from '../../sharding/rebalance/model.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { conditionsBefore, merged } from '../sharded-cluster/status.ts';
import { ofGeneration } from '../sharded-cluster/status-conditions.ts';
import type { RebalanceView } from './model.ts';
import type { RebalanceDecision } from './plan.ts';
import { restingText } from './remedies.ts';
import { mayNotAct, shardsOf } from './world.ts';

/** The fields of `status` that the rebalancer writes. */
export type OwnStatus = Pick<ShardedClusterStatus, 'rebalance' | 'load' | 'autoscaling' | 'conditions'>;

/** What is shown of long lists. */
const shown = { moves: 50, notes: 20 };

/** The status, from zero. */
export function statusOf(view: RebalanceView, decision: RebalanceDecision): OwnStatus {
  const { cluster, now } = view;
  const conditions = ofGeneration(cluster.metadata.generation, [balanced(decision), hot(decision)]);
  const autoscaling = autoscalingStatus(decision.autoscaling, cluster.status?.autoscaling);
  return {
    conditions: merged(conditionsBefore(cluster.status), conditions, now),
    rebalance: rebalanceStatus(decision, mayNotAct(view)),
    load: loadStatus(view, decision),
    ...(cluster.spec.shards.autoscaling === undefined || autoscaling === undefined ? {} : { autoscaling }),
  };
}

/** The status while nothing is measured: shards that autoscaling has added are not taken away for that. */
export function unmeasuredStatus({ spec, status }: Pick<ShardedCluster, 'spec' | 'status'>): OwnStatus {
  const decided = status?.autoscaling;
  if (spec.shards.autoscaling === undefined || decided === undefined) return {};
  // What was so before says nothing of when it is measured again.
  const { overSince: _, quietSince: __, ...known } = decided;
  const why = spec.tables.length === 0 ? 'there are no tables' : 'spec.rebalance.mode is off';
  const message = `nothing is measured, for ${why}: the number of shards stays`;
  return {
    autoscaling: {
      ...known,
      recommended: known.desired,
      reason: 'MetricsMissing',
      message,
      metrics: [],
    },
  };
}

function rebalanceStatus(
  { phase, message, plan, running, resting }: RebalanceDecision,
  obstacle: string | undefined,
): RebalanceStatus {
  const moves = plan?.moves ?? [];
  const stuck = (plan?.stuck ?? []).map(
    (bucket) => `bucket ${bucketText(bucket)} on ${bucket.shard}: ${bucket.message}`,
  );
  return {
    phase,
    message,
    shards: (plan?.shards ?? []).map((shard) => ({
      name: shard.name,
      utilisation: percent(shard.utilisation),
      utilisationAfter: percent(shard.utilisationAfter),
      buckets: shard.buckets,
      bucketsAfter: shard.bucketsAfter,
      bytes: rounded(shard.bytes),
      bytesAfter: rounded(shard.bytesAfter),
    })),
    moves: moves.slice(0, shown.moves).map(({ group, id, from, to, bytes, reason }) => ({
      group,
      bucket: id,
      from,
      to,
      bytes: rounded(bytes),
      reason,
    })),
    totalMoves: moves.length,
    runningMoves: running.length,
    bytes: rounded(moves.reduce((sum, move) => sum + move.bytes, 0)),
    ...(plan === undefined || moves.length === 0 ? {} : { etaSeconds: rounded(plan.seconds) }),
    stuck: [...stuck, ...resting.map((rest) => restingText(rest, obstacle))].slice(0, shown.notes),
  };
}

function loadStatus(
  { cluster, map, measurements }: RebalanceView,
  { hot: spots }: RebalanceDecision,
): LoadStatus {
  const buckets = map.groups.flatMap(({ name, buckets: ids }) => ids.map(({ id }) => ({ group: name, id })));
  return {
    shards: shardsOf(cluster, map).flatMap((name) => {
      const stats = measurements.latest.get(name)?.stats;
      const rates = measurements.rates.get(name);
      if (stats === undefined || rates === undefined) return [];
      return [
        {
          name,
          utilisation: percent(rates.utilisation),
          connections: rounded(stats.connections),
          // What the operator itself asks for is none.
          transactionsPerSecond: rates.transactionsPerSecond < 2 ? 0 : rounded(rates.transactionsPerSecond),
        },
      ];
    }),
    groups: writeRates(measurements.load.rates, buckets),
    hot: spots.slice(0, shown.notes).map(hotText),
  };
}

function balanced({ phase, message, plan }: RebalanceDecision): ConditionInput {
  const status = phase === 'Unknown' ? 'Unknown' : plan?.isBalanced === true ? 'True' : 'False';
  return { type: 'Balanced', status, reason: phase, message };
}

function hot({ hot: spots, phase }: RebalanceDecision): ConditionInput {
  const type = 'Hot';
  const first = spots[0];
  if (first !== undefined) {
    return { type, status: 'True', reason: 'HotShard', message: spots.map(hotText).join('; ') };
  }
  if (phase === 'Unknown') {
    return { type, status: 'Unknown', reason: 'NotMeasured', message: 'not every shard has answered yet' };
  }
  return { type, status: 'False', reason: 'Even', message: 'no shard is much busier than the others' };
}

/** What is hot, and what helps, in one sentence. */
export function hotText(spot: HotSpot): string {
  switch (spot.kind) {
    case 'shard':
      return `shard ${spot.shard} is hot: in 3 of 5 windows over 70 % and over 1.25 × the median of all`;
    case 'bucket': {
      const help =
        spot.remedy === 'split'
          ? 'split it, for it is too much for any one shard'
          : 'it is moved, where that helps';
      return `bucket ${bucketText(spot.bucket)} has ${tens(spot.share)} % of the load of shard ${spot.shard}: ${help}`;
    }
    case 'tenant':
      return (
        `key "${spot.tenant}" has ${tens(spot.share)} % of the rows of bucket ${bucketText(spot.bucket)} on shard ${spot.shard}: ` +
        'give it a bucket of its own'
      );
  }
}

function autoscalingStatus(
  decision: AutoscaleDecision | undefined,
  before: ShardAutoscalingStatus | undefined,
): ShardAutoscalingStatus | undefined {
  // What could not be decided stays as it was: a shard must not vanish because one did not answer.
  if (decision === undefined) return before;
  const { desired, recommended, reason, message, metrics, state } = decision;
  const since = {
    overSince: state.overSinceMs,
    quietSince: state.quietSinceMs,
    changedAt: state.changedAtMs,
  };
  const dates = Object.entries(since).flatMap(([name, ms]) =>
    ms === undefined ? [] : [[name, `${new Date(ms).toISOString().slice(0, 19)}Z`] as const],
  );
  return {
    base: state.base,
    desired,
    recommended,
    reason,
    message,
    metrics: metrics.map(metricStatus),
    ...Object.fromEntries(dates),
  };
}

function metricStatus({ type, target, ...values }: JudgedMetric): ShardAutoscalingStatus['metrics'][number] {
  const texts = Object.entries(values).map(([name, value]) => [name, String(rounded(value))] as const);
  return { type, target: String(target), ...Object.fromEntries(texts) };
}

/** Whole percent, to two significant digits: a status that says nothing new is not sent. */
function percent(share: number): number {
  return rounded(share * 100);
}

/** Percent to the nearest ten, for sentences. */
function tens(share: number): number {
  return Math.round(share * 10) * 10;
}

/** Two significant digits. */
function rounded(value: number): number {
  return Math.round(Number(value.toPrecision(2)));
}
