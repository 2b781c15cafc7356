import type { ShardAutoscalingStatus } from '../../api/v1alpha1/shard-autoscaling.ts';
import type { AutoscaleDecision } from '../../sharding/rebalance/autoscale-shards.ts';
import { type HotSpot, hotSpots } from '../../sharding/rebalance/hot.ts';
import {
  bucketText,
  type Move,
  type PlannedMove,
  type RebalanceInput,
  type RebalancePlan,
} from '../../sharding/rebalance/model.ts';
import { planRebalance } from '../../sharding/rebalance/plan.ts';
import { conditionsBefore } from '../sharded-cluster/status.ts';
import { decideAutoscaling } from './autoscale.ts';
import { failingGroups } from './failures.ts';
import type { RebalanceView } from './model.ts';
import { type Remedies, type Remedy, remediesFor, restingText } from './remedies.ts';
import {
  groupIsTriedAgain,
  intervalOf,
  mayNotAct,
  restingShards,
  runningMoves,
  shardsOf,
  worldOf,
} from './world.ts';

/** So many rounds must show a lack of balance before buckets move for it: load that comes and goes moves nothing. */
const lastingIntervals = 3;

/** What the rebalancer is doing, in one word, and why. */
export interface Phase {
  readonly phase: 'Balanced' | 'Planned' | 'Moving' | 'Waiting' | 'Stuck' | 'Unknown';
  readonly message: string;
}

/** A ShardMove to be made. */
export interface NewMove extends Move {
  readonly name: string;
  readonly reason: PlannedMove['reason'] | 'hot';
  readonly operation?: Remedy['operation'];
  readonly tenant?: string;
}

/** What comes of one pass. */
export interface RebalanceDecision extends Phase {
  /** Absent while a shard that owns buckets has never answered. */
  readonly plan: RebalancePlan | undefined;
  readonly running: readonly Move[];
  readonly create: readonly NewMove[];
  /** ShardMoves of ours whose retention keeps a shard that shall go; its volumes keep the data, too. */
  readonly release: readonly string[];
  readonly hot: readonly HotSpot[];
  /** What heat asks for, has failed, and is tried again later. */
  readonly resting: Remedies['resting'];
  /** Absent without `spec.shards.autoscaling`. */
  readonly autoscaling: AutoscaleDecision | undefined;
}

/** Decides what to move, and how many shards there shall be. */
export function decideRebalance(
  view: RebalanceView,
  before: ShardAutoscalingStatus | undefined,
): RebalanceDecision {
  const running = runningMoves(view);
  const hot = hotSpotsOf(view);
  const silent = silentShards(view);
  if (silent.length > 0) {
    const message = `no plan is made until every shard has answered: ${silent.join(', ')}`;
    return {
      phase: 'Unknown',
      message,
      plan: undefined,
      running,
      create: [],
      release: [],
      hot,
      resting: [],
      autoscaling: undefined,
    };
  }
  const world = worldOf(view);
  const plan = planRebalance(world);
  const obstacle = obstacleOf(view, plan);
  const remedies = remediesFor(view, world, hot);
  return {
    ...phaseOf(plan, world, obstacle, view, remedies),
    plan,
    running,
    create: toCreate(view, plan, remedies),
    release: releasable(view, world),
    hot,
    resting: remedies.resting,
    autoscaling: decideAutoscaling(view, world, plan, before),
  };
}

/** What is too hot for any one shard comes first: until it is in parts, others cannot be balanced with it. */
function toCreate(view: RebalanceView, plan: RebalancePlan, { next }: Remedies): NewMove[] {
  if (mayNotAct(view) !== undefined) return [];
  if (next !== undefined) return [newMove({ ...next, reason: 'hot' }, view)];
  return plan.moves.length === 0 ? [] : due(plan, view).map((move) => newMove(move, view));
}

/** Shards that own buckets, and have not said anything yet. */
function silentShards({ cluster, map, measurements }: RebalanceView): string[] {
  const owners = new Set(map.groups.flatMap((group) => group.buckets.map((bucket) => bucket.shard)));
  return shardsOf(cluster, map).filter((name) => owners.has(name) && !measurements.latest.has(name));
}

/** Retained moves from shards that are to be emptied, where the rebalancer may act at all. */
function releasable({ cluster, moves }: RebalanceView, { shards }: RebalanceInput): string[] {
  const { mode, dryRun } = cluster.spec.rebalance;
  if (mode !== 'auto' || dryRun) return [];
  const draining = new Set(shards.filter((shard) => shard.isDraining).map((shard) => shard.name));
  return moves
    .filter(
      ({ isRetained, buckets }) => isRetained === true && buckets.every(({ from }) => draining.has(from)),
    )
    .map(({ name }) => name);
}

/**
 * The moves to start: for mere balance only when it has been lacking for some rounds, or a shard has nothing at all; and none
 * of shards that rest after their last one.
 */
function due(plan: RebalancePlan, { cluster, moves, now }: RebalanceView): readonly PlannedMove[] {
  const isEmpty = plan.shards.some((shard) => shard.buckets === 0 && shard.bucketsAfter > 0);
  const condition = conditionsBefore(cluster.status).find(({ type }) => type === 'Balanced');
  const sinceMs = condition?.status === 'False' ? Date.parse(condition.lastTransitionTime) : now.getTime();
  const isLasting = now.getTime() - sinceMs >= lastingIntervals * intervalOf(cluster);
  const resting = restingShards(moves, now);
  return plan.next.filter(
    ({ from, to, reason }) =>
      !resting.has(from) && !resting.has(to) && (reason !== 'balance' || isEmpty || isLasting),
  );
}

/** Why nothing is moved though it is planned. */
function obstacleOf(view: RebalanceView, plan: RebalancePlan): string | undefined {
  return plan.moves.length === 0 ? 'nothing is to be moved' : mayNotAct(view);
}

function phaseOf(
  plan: RebalancePlan,
  { running, shards }: RebalanceInput,
  obstacle: string | undefined,
  view: RebalanceView,
  { resting: [resting] }: Remedies,
): Phase {
  const { cluster } = view;
  const { threshold, improvementThreshold } = cluster.spec.rebalance;
  if (running.length > 0) {
    const closed = closedWindowOf(view);
    if (closed !== undefined) {
      const wait = running.length === 1 ? 'waits' : 'wait';
      const message = `${count(running.length, 'move')} ${wait}: ${closed}; ${plan.moves.length} to come`;
      return { phase: 'Waiting', message };
    }
    return {
      phase: 'Moving',
      message: `${count(running.length, 'move')} under way, ${plan.moves.length} to come`,
    };
  }
  if (plan.moves.length > 0) {
    const message = `${count(plan.moves.length, 'move')} planned${obstacle === undefined ? '' : `; ${obstacle}`}`;
    return { phase: 'Planned', message };
  }
  const absent = shards.filter((shard) => !shard.isAvailable && !shard.isDraining).map((shard) => shard.name);
  if (!plan.isBalanced && absent.length > 0) {
    return { phase: 'Waiting', message: `not ready to give or take buckets: ${absent.join(', ')}` };
  }
  const failing = [...failingGroups(view)];
  if (!plan.isBalanced && failing.length > 0) {
    const fail = failing.map(([group, what]) => `moves of group ${group} fail (${what})`).join(', ');
    return { phase: 'Stuck', message: `${fail}; ${mayNotAct(view) ?? groupIsTriedAgain}` };
  }
  const stuck = plan.stuck[0];
  if (stuck !== undefined) {
    return {
      phase: 'Stuck',
      message: `bucket ${bucketText(stuck)} should leave ${stuck.shard}: ${stuck.message}`,
    };
  }
  if (!plan.isBalanced && resting !== undefined)
    return { phase: 'Stuck', message: restingText(resting, mayNotAct(view)) };
  const message = plan.isBalanced
    ? `every shard is within ${threshold} % of its fair share`
    : `no move helps by ${improvementThreshold} % of what the bucket costs`;
  return { phase: 'Balanced', message };
}

/** The window that all moves wait for which have not ended; `undefined` when one of them is under way. */
function closedWindowOf({ moves }: RebalanceView): string | undefined {
  const running = moves.filter(({ isRunning }) => isRunning);
  return running.every(({ closedWindow }) => closedWindow !== undefined)
    ? running[0]?.closedWindow
    : undefined;
}

/** Its name tells bucket and epoch, so that no bucket gets two moves from two passes that both saw the same map. */
function newMove(
  { group, id, from, to, reason, operation, tenant }: Omit<NewMove, 'name'>,
  { cluster, map, moves }: RebalanceView,
): NewMove {
  const epoch = map.groups
    .find((candidate) => candidate.name === group)
    ?.buckets.find((bucket) => bucket.id === id)?.epoch;
  const base = `${cluster.metadata.name}-${group.replaceAll('_', '-')}-b${String(id).padStart(4, '0')}-e${epoch ?? 0}`;
  // The newest of those that are there, since older ones go after a time.
  const numbers = moves.flatMap(({ name }) => {
    if (name === base) return [1];
    return name.startsWith(`${base}-`) ? [Number(name.slice(base.length + 1))] : [];
  });
  const newest = Math.max(0, ...numbers.filter(Number.isInteger));
  return {
    name: newest === 0 ? base : `${base}-${newest + 1}`,
    group,
    id,
    from,
    to,
    reason,
    ...(operation === undefined ? {} : { operation }),
    ...(tenant === undefined ? {} : { tenant }),
  };
}

function hotSpotsOf({ measurements }: RebalanceView): HotSpot[] {
  const keys = new Map(measurements.hotKeys.map((key) => [bucketText(key), key]));
  const windows = measurements.windows.map((window) =>
    window.map((shard) => ({
      ...shard,
      buckets: shard.buckets.map((bucket) => {
        const key = keys.get(bucketText(bucket));
        return key === undefined ? bucket : { ...bucket, topKey: { value: key.value, share: key.share } };
      }),
    })),
  );
  return hotSpots(windows);
}

/** `1 move`, `2 moves`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
