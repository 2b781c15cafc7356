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
import type { RebalanceView } from './model.ts';
import { failingGroups } from './world.ts';

/** A bucket that is too hot for any one shard, and what is done about it on the way to another one. */
export interface Remedy extends Move {
  readonly operation: 'split' | 'isolate';
  readonly tenant?: string;
}

/** After a group was changed its load is measured anew before it is changed again; a change that failed is not tried again sooner. */
const restMs = 600_000;
/** Parts of a bucket of the first layout that are not split further: what is hot then is a key. */
const smallestPart = 64;

/**
 * The one bucket to split, or tenant to isolate, that heat asks for most, where load is what is balanced: nothing while anything
 * moves, and nothing of a group that is being changed, or was lately, or whose moves fail. It goes to the shard with room that is used
 * least.
 */
export function remedyOf(
  view: RebalanceView,
  { shards, running, buckets, settings }: RebalanceInput,
  hot: readonly HotSpot[],
): Remedy | undefined {
  if (running.length > 0 || settings.strategy !== 'byLoad') return undefined;
  const failing = failingGroups(view);
  const rates = view.measurements.rates;
  const available = shards.filter(({ isAvailable, isDraining }) => isAvailable && !isDraining);
  const useOf = ({ name }: ShardCapacity) => rates.get(name)?.utilisation ?? 0;
  const byUse = [...available].sort((a, b) => useOf(a) - useOf(b));
  for (const spot of [...hot].sort((a, b) => rank(a) - rank(b))) {
    if (spot.kind === 'shard' || failing.has(spot.bucket.group) || isResting(view, spot.bucket.group))
      continue;
    const group = view.map.groups.find(({ name }) => name === spot.bucket.group);
    const bucket = group?.buckets.find(({ id }) => id === spot.bucket.id);
    if (group === undefined || bucket === undefined || bucket.shard !== spot.shard) continue;
    const load = buckets.find((item) => item.group === group.name && item.id === bucket.id);
    if (load?.isHeld === true || load?.immovable !== undefined) continue;
    const to = byUse.find(
      ({ name, freeBytes = Number.POSITIVE_INFINITY }) =>
        name !== bucket.shard && load?.allowed?.includes(name) !== false && freeBytes >= (load?.bytes ?? 0),
    );
    if (to === undefined || byUse.every(({ name }) => name !== bucket.shard)) continue;
    const move = { group: group.name, id: bucket.id, from: bucket.shard, to: to.name };
    if (spot.kind === 'tenant') {
      if (group.strategy === 'directory' && bucket.isDefault === true) {
        return { ...move, operation: 'isolate', tenant: spot.tenant };
      }
    } else if (spot.remedy === 'split' && canSplit(view, group, bucket)) {
      return { ...move, operation: 'split' };
    }
  }
  return undefined;
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
  if (bucket.range !== undefined) return !hasPlace(bucket, group);
  if (bucket.hash === undefined) return false;
  const layout = layoutOf(cluster.spec.tables).groups.find(({ name }) => name === group.name);
  const region = layout?.regions.find(({ name }) => name === bucket.region);
  const first = region === undefined ? (layout?.buckets ?? 1) : (region.buckets ?? 1);
  return bucket.hash.modulus < first * smallestPart;
}
