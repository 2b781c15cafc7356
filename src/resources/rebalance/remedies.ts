import type { Bucket, BucketGroup } from '../../api/v1alpha1/shard-map.ts';
import { layoutOf } from '../../sharding/layout.ts';
import { hasPlace } from '../../sharding/names.ts';
import type { HotSpot } from '../../sharding/rebalance/hot.ts';
import {
  bucketText,
  type Move,
  type RebalanceInput,
  type ShardCapacity,
} from '../../sharding/rebalance/model.ts';
import { failingGroups } from './failures.ts';
import type { MoveFacts, RebalanceView } from './model.ts';

/** A bucket that is too hot for any one shard, and what is done about it on the way to another one. */
export interface Remedy extends Move {
  readonly operation: 'split' | 'isolate';
  readonly tenant?: string;
}

/** One that has failed so many times in a row, at last as that ShardMove, and is not tried before (ms since 1970). */
export interface RestingRemedy extends Remedy {
  readonly failures: number;
  readonly shardMove: string;
  readonly untilMs: number;
}

/** What heat asks for: what is done now, and what has failed and is tried again later. */
export interface Remedies {
  readonly next?: Remedy;
  readonly resting: readonly RestingRemedy[];
}

/** After a group was changed its load is measured anew before it is changed again; a change that failed is not tried again sooner. */
const restMs = 600_000;
/** With each failure in a row a change rests twice as long, but no longer than this. */
const longestRestMs = 6 * 3_600_000;
/** Parts of a bucket of the first layout that are not split further: what is hot then is a key. */
const smallestPart = 64;

/**
 * The one bucket to split, or tenant to isolate, that heat asks for most, where load is what is balanced: nothing while anything
 * moves, and nothing of a group that is being changed, or was lately, or whose moves fail. It goes to the shard with room that is used
 * least. What fails again and again is tried more and more rarely, as a tenant whom somebody has to give a right first.
 */
export function remediesFor(view: RebalanceView, input: RebalanceInput, hot: readonly HotSpot[]): Remedies {
  const resting: RestingRemedy[] = [];
  if (input.settings.strategy !== 'byLoad') return { resting };
  const failing = failingGroups(view);
  let next: Remedy | undefined;
  for (const spot of [...hot].sort((a, b) => rank(a) - rank(b))) {
    const remedy = remedyFor(spot, view, input);
    if (remedy === undefined) continue;
    const rest = restOf(remedy, view);
    if (rest !== undefined) resting.push(rest);
    else if (!failing.has(remedy.group) && !isResting(view, remedy.group) && !isHeld(remedy, input))
      next ??= remedy;
  }
  return next === undefined || input.running.length > 0 ? { resting } : { next, resting };
}

/** What would help, whatever has been tried. */
function remedyFor(
  spot: HotSpot,
  view: RebalanceView,
  { shards, buckets }: RebalanceInput,
): Remedy | undefined {
  if (spot.kind === 'shard') return undefined;
  const group = view.map.groups.find(({ name }) => name === spot.bucket.group);
  const bucket = group?.buckets.find(({ id }) => id === spot.bucket.id);
  if (group === undefined || bucket === undefined || bucket.shard !== spot.shard) return undefined;
  const load = buckets.find((item) => item.group === group.name && item.id === bucket.id);
  if (load?.immovable !== undefined) return undefined;
  const useOf = ({ name }: ShardCapacity) => view.measurements.rates.get(name)?.utilisation ?? 0;
  const available = shards.filter(({ isAvailable, isDraining }) => isAvailable && !isDraining);
  const to = [...available]
    .sort((a, b) => useOf(a) - useOf(b))
    .find(
      ({ name, freeBytes = Number.POSITIVE_INFINITY }) =>
        name !== bucket.shard && load?.allowed?.includes(name) !== false && freeBytes >= (load?.bytes ?? 0),
    );
  if (to === undefined || available.every(({ name }) => name !== bucket.shard)) return undefined;
  const move = { group: group.name, id: bucket.id, from: bucket.shard, to: to.name };
  if (spot.kind === 'tenant') {
    const isTenants = group.strategy === 'directory' && bucket.isDefault === true;
    return isTenants ? { ...move, operation: 'isolate', tenant: spot.tenant } : undefined;
  }
  return spot.remedy === 'split' && canSplit(view, group, bucket)
    ? { ...move, operation: 'split' }
    : undefined;
}

function isHeld({ group, id }: Remedy, { buckets }: RebalanceInput): boolean {
  return buckets.some((item) => item.group === group && item.id === id && item.isHeld === true);
}

/** The rest of a remedy that has failed since it succeeded last. */
function restOf(remedy: Remedy, { moves, now }: RebalanceView): RestingRemedy | undefined {
  const same = moves.filter((move) => isTryOf(remedy, move));
  const movedMs = Math.max(...same.map(({ movedAtMs = Number.NEGATIVE_INFINITY }) => movedAtMs));
  const failed = same
    .flatMap(({ name, failedAtMs, isCancelled }) =>
      failedAtMs === undefined || isCancelled === true ? [] : [{ name, failedAtMs }],
    )
    .filter(({ failedAtMs }) => failedAtMs > movedMs)
    .sort((a, b) => a.failedAtMs - b.failedAtMs);
  const last = failed.at(-1);
  if (last === undefined) return undefined;
  const failures = failed.length;
  const untilMs = last.failedAtMs + Math.min(restMs * 2 ** (failures - 1), longestRestMs);
  return now.getTime() < untilMs ? { ...remedy, failures, shardMove: last.name, untilMs } : undefined;
}

function isTryOf({ group, id, tenant }: Remedy, move: MoveFacts): boolean {
  const isOther = move.isReshape !== true || move.isMerge === true;
  if (isOther || move.group !== group || move.tenant !== tenant) return false;
  return tenant !== undefined || move.buckets.some((bucket) => bucket.id === id);
}

/** What rests, and for how long, or why it is not tried again, in one sentence. */
export function restingText(
  { tenant, from, failures, shardMove, untilMs, ...bucket }: RestingRemedy,
  obstacle: string | undefined,
): string {
  const what = `bucket ${bucketText(bucket)} on ${from}`;
  const should =
    tenant === undefined ? `${what} should be split` : `tenant "${tenant}" of ${what} should be isolated`;
  if (obstacle !== undefined)
    return `${should}: attempt ${failures} has failed (see ShardMove ${shardMove}); ${obstacle}`;
  const time = `${new Date(untilMs).toISOString().slice(0, 19)}Z`;
  return `${should}: after failed attempt ${failures} (see ShardMove ${shardMove}) it is tried again at ${time}`;
}

/** Tenants first: a split leaves a tenant whole. */
function rank(spot: HotSpot): number {
  return spot.kind === 'tenant' ? 0 : 1;
}

function isResting({ moves, now }: RebalanceView, group: string): boolean {
  return moves.some(
    ({ isReshape, group: changed, isRunning, movedAtMs, failedAtMs }) =>
      isReshape === true &&
      changed === group &&
      (isRunning || now.getTime() - (movedAtMs ?? failedAtMs ?? 0) < restMs),
  );
}

function canSplit({ cluster, measurements }: RebalanceView, group: BucketGroup, bucket: Bucket): boolean {
  // A key with most rows stays as hot as it is, in whatever part.
  const key = bucketText({ group: group.name, id: bucket.id });
  const hotKey = measurements.hotKeys.find((candidate) => bucketText(candidate) === key);
  if (hotKey !== undefined && hotKey.share >= 0.5) return false;
  const layout = layoutOf(cluster.spec.tables).groups.find(({ name }) => name === group.name);
  // Where keys only grow, the upper part is as hot as the whole was, however often it is split.
  if (bucket.range !== undefined)
    return (
      !hasPlace(bucket, group) &&
      group.buckets.length < Math.max(1, layout?.bounds.length ?? 1) * smallestPart
    );
  if (bucket.hash === undefined) return false;
  const region = layout?.regions.find(({ name }) => name === bucket.region);
  const first = region === undefined ? (layout?.buckets ?? 1) : (region.buckets ?? 1);
  return bucket.hash.modulus < first * smallestPart;
}
