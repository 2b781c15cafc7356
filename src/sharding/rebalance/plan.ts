import { neededRoom, roomFactor } from '../room.ts';
import { costsOf } from './cost.ts';
import {
  type BucketLoad,
  bucketText,
  compareBuckets,
  compareShards,
  type PlannedMove,
  type RebalanceInput,
  type RebalancePlan,
  type ShardCapacity,
  type ShardForecast,
  type Stuck,
} from './model.ts';
import { estimateSeconds, startable } from './schedule.ts';

/** Moves of one plan at most; what is left comes with the next. */
const maxMoves = 1_000;
/** Below this a difference of utilisations is rounding. */
const epsilon = 1e-6;

interface Item extends BucketLoad {
  readonly cost: number;
}

/** A shard as it would be after the moves planned so far. */
interface Place {
  readonly shard: ShardCapacity;
  /** Its share of the capacity of all shards that stay. */
  readonly share: number;
  /** Costliest first. */
  readonly items: Item[];
  readonly counts: Map<string, number>;
  cost: number;
  bytes: number;
  load: number;
  freeBytes: number;
}

/**
 * Plans which buckets go where. First those that are where they may not be, or on a shard that shall be emptied; then, while
 * a shard is over or under its fair share by more than the threshold, from the fullest to the emptiest, costliest bucket
 * first, each only if it makes the fuller of the two better by the improvement threshold, until all are within half the
 * threshold. Every bucket moves once at most.
 */
export function planRebalance(input: RebalanceInput): RebalancePlan {
  const world = worldOf(input);
  const before = [...world.values()].map(snapshot);
  const stuck: Stuck[] = [];
  const moves = planDrains(world, stuck);
  const isBalanced = moves.length === 0 && stuck.length === 0 && isWithin(world, input.settings.threshold);
  if (!isWithin(world, input.settings.threshold)) moves.push(...planBalance(world, input, moves));
  const { bytesPerSecond, running, settings } = input;
  return {
    shards: [...world.values()].map((place, index) => forecast(before[index] ?? snapshot(place), place)),
    moves,
    next: startable(moves, running, settings.maxConcurrent),
    stuck,
    isBalanced,
    seconds: estimateSeconds(moves, running, settings.maxConcurrent, bytesPerSecond),
  };
}

function worldOf({
  shards,
  buckets,
  running,
  settings,
  meanUtilisation,
}: RebalanceInput): Map<string, Place> {
  // One order for all sums, so that the same world gives the same plan in whatever order it was read.
  const ordered = [...buckets].sort(compareBuckets);
  const costs = costsOf(ordered, settings.strategy, meanUtilisation);
  const staying = shards.filter((shard) => !shard.isDraining);
  const capacity = (staying.length > 0 ? staying : shards).reduce((sum, shard) => sum + shard.capacity, 0);
  const world = new Map<string, Place>();
  for (const shard of [...shards].sort((a, b) => compareShards(a.name, b.name))) {
    world.set(shard.name, {
      shard,
      share: shard.capacity / capacity,
      items: [],
      counts: new Map(),
      cost: 0,
      bytes: 0,
      load: 0,
      freeBytes: shard.freeBytes ?? Number.POSITIVE_INFINITY,
    });
  }
  for (const [index, bucket] of ordered.entries()) {
    const move = running.find((other) => other.group === bucket.group && other.id === bucket.id);
    const place = world.get(move?.to ?? bucket.shard);
    if (place === undefined) continue;
    const { setback, ...known } = bucket;
    put(place, {
      ...known,
      cost: costs[index] ?? 0,
      isHeld: bucket.isHeld === true || move !== undefined,
      ...(setback === undefined || move !== undefined ? {} : { setback }),
    });
    if (move !== undefined) place.freeBytes -= bucket.bytes;
  }
  for (const place of world.values()) place.items.sort((a, b) => b.cost - a.cost || compareBuckets(a, b));
  return world;
}

function planDrains(world: ReadonlyMap<string, Place>, stuck: Stuck[]): PlannedMove[] {
  const misplaced = [...world.values()]
    .flatMap((place) =>
      place.items.filter((item) => isMisplaced(place, item)).map((item) => ({ place, item })),
    )
    .sort((a, b) => b.item.cost - a.item.cost || compareBuckets(a.item, b.item));
  const moves: PlannedMove[] = [];
  for (const { place, item } of misplaced) {
    if (moves.length >= maxMoves) break;
    const refuse = (message: string) =>
      stuck.push({ group: item.group, id: item.id, shard: place.shard.name, message });
    if (item.isHeld === true) {
      if (item.setback !== undefined) refuse(item.setback);
      continue;
    }
    if (item.immovable !== undefined) {
      refuse(item.immovable);
      continue;
    }
    if (!place.shard.isAvailable) {
      refuse(`shard ${place.shard.name} does not answer`);
      continue;
    }
    const candidates = [...world.values()].filter(
      (other) => other !== place && !other.shard.isDraining && isAllowed(item, other.shard.name),
    );
    const open = candidates.filter((other) => other.shard.isAvailable && other.freeBytes >= item.bytes);
    const target = open.reduce<Place | undefined>((best, other) => {
      if (best === undefined) return other;
      const difference = (other.cost + item.cost) / other.share - (best.cost + item.cost) / best.share;
      return difference < -epsilon ? other : best;
    }, undefined);
    if (target === undefined) refuse(whyNoTarget(item, candidates));
    else moves.push(move(place, target, item, place.shard.isDraining ? 'drain' : 'not-allowed'));
  }
  return moves;
}

function isMisplaced(place: Place, item: Item): boolean {
  return place.shard.isDraining || !isAllowed(item, place.shard.name);
}

function whyNoTarget(item: Item, candidates: readonly Place[]): string {
  const names = candidates.map((place) => place.shard.name).join(', ');
  if (candidates.length === 0) {
    return `no shard that stays may own it (${item.allowed?.join(', ') ?? 'all shards are drained'}): keep or name another`;
  }
  if (candidates.every((place) => !place.shard.isAvailable))
    return `no shard that may own it answers (${names})`;
  return (
    `no shard that may own it (${names}) has the ${neededRoom(roomFactor * item.bytes)} free that it needs (${roomFactor} times its size; ` +
    'WAL takes room, too, and a tenth of a volume stays free): let the volumes grow'
  );
}

function planBalance(
  world: ReadonlyMap<string, Place>,
  { settings }: RebalanceInput,
  earlier: readonly PlannedMove[],
): PlannedMove[] {
  const moved = new Set(earlier.map(bucketText));
  const moves: PlannedMove[] = [];
  while (earlier.length + moves.length < maxMoves && !isWithin(world, settings.threshold / 2)) {
    const found = bestMove(world, settings.improvementThreshold, moved);
    if (found === undefined) break;
    moved.add(bucketText(found));
    moves.push(found);
  }
  return moves;
}

/** The first move that is worth it, the fullest source, the emptiest target and the costliest bucket before others. */
function bestMove(
  world: ReadonlyMap<string, Place>,
  improvementThreshold: number,
  moved: ReadonlySet<string>,
): PlannedMove | undefined {
  const places = [...world.values()]
    .filter(({ shard }) => shard.isAvailable && !shard.isDraining)
    .sort((a, b) => utilisation(b) - utilisation(a) || compareShards(a.shard.name, b.shard.name));
  for (const source of places) {
    const targets = places.filter((place) => utilisation(place) < utilisation(source) - epsilon).reverse();
    for (const target of targets) {
      const item = costliest(source, target, improvementThreshold, moved);
      if (item !== undefined) return move(source, target, item, 'balance');
    }
  }
  return undefined;
}

function costliest(
  source: Place,
  target: Place,
  improvementThreshold: number,
  moved: ReadonlySet<string>,
): Item | undefined {
  let best: Item | undefined;
  for (const item of source.items) {
    if (best !== undefined && item.cost < best.cost - epsilon) break;
    if (item.isPinned === true || item.isHeld === true || item.immovable !== undefined) continue;
    if (moved.has(bucketText(item))) continue;
    if (!isAllowed(item, target.shard.name) || target.freeBytes < item.bytes) continue;
    const gain = gainOf(source, target, item);
    if (gain <= epsilon || gain < (improvementThreshold * item.cost) / source.share) continue;
    // Among equals, the group that is spread least evenly between the two, so that all groups stay spread.
    if (best === undefined || excess(source, target, item) > excess(source, target, best)) best = item;
  }
  return best;
}

function excess(source: Place, target: Place, { group }: Item): number {
  return (source.counts.get(group) ?? 0) - (target.counts.get(group) ?? 0);
}

function gainOf(source: Place, target: Place, { cost }: Item): number {
  const after = Math.max((source.cost - cost) / source.share, (target.cost + cost) / target.share);
  return Math.max(utilisation(source), utilisation(target)) - after;
}

function move(source: Place, target: Place, item: Item, reason: PlannedMove['reason']): PlannedMove {
  const gain = gainOf(source, target, item);
  source.items.splice(source.items.indexOf(item), 1);
  // Its bytes stay on the source's volume until the retention of the move is over.
  take(source, item);
  put(target, item);
  target.items.sort((a, b) => b.cost - a.cost || compareBuckets(a, b));
  target.freeBytes -= item.bytes;
  const { group, id, bytes } = item;
  return { group, id, from: source.shard.name, to: target.shard.name, bytes, reason, gain };
}

function put(place: Place, item: Item): void {
  place.items.push(item);
  place.counts.set(item.group, (place.counts.get(item.group) ?? 0) + 1);
  place.cost += item.cost;
  place.bytes += item.bytes;
  place.load += item.load;
}

function take(place: Place, item: Item): void {
  place.counts.set(item.group, (place.counts.get(item.group) ?? 0) - 1);
  place.cost -= item.cost;
  place.bytes -= item.bytes;
  place.load -= item.load;
}

function isAllowed(item: Item, shard: string): boolean {
  return item.allowed === undefined || item.allowed.includes(shard);
}

function utilisation(place: Place): number {
  return place.cost / place.share;
}

/** Whether all shards that stay are within a share of the mean. */
function isWithin(world: ReadonlyMap<string, Place>, threshold: number): boolean {
  const staying = [...world.values()].filter(({ shard }) => !shard.isDraining);
  const cost = staying.reduce((sum, place) => sum + place.cost, 0);
  const share = staying.reduce((sum, place) => sum + place.share, 0);
  const mean = share === 0 ? 0 : cost / share;
  return staying.every((place) => Math.abs(utilisation(place) - mean) <= threshold * mean + epsilon);
}

interface Snapshot {
  readonly utilisation: number;
  readonly bytes: number;
  readonly load: number;
  readonly buckets: number;
}

function snapshot(place: Place): Snapshot {
  const { bytes, load, items } = place;
  return { utilisation: utilisation(place), bytes, load, buckets: items.length };
}

function forecast(before: Snapshot, place: Place): ShardForecast {
  const after = snapshot(place);
  return {
    name: place.shard.name,
    utilisation: before.utilisation,
    utilisationAfter: after.utilisation,
    bytes: before.bytes,
    bytesAfter: after.bytes,
    load: before.load,
    loadAfter: after.load,
    buckets: before.buckets,
    bucketsAfter: after.buckets,
  };
}
