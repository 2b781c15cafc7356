import type { Bucket, BucketGroup, ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { isReshape } from './buckets.ts';
import type { MapBucket, Move, Step } from './model.ts';

/** The steps that are a compare-and-swap of the map. */
export type MapStep = Extract<Step, { kind: 'announce' | 'decide' | 'clear-pending' }>;

/** What of a move says which buckets it is about. */
type Subject = Pick<Move, 'group' | 'parents' | 'children'>;

/**
 * The buckets that a move is about, as the map has them: the children when there are any, since their numbers are given once
 * and they come into the map by the decision alone; else the parents. `undefined` when neither are there.
 */
export function mapBucket(map: ShardMapSpec, move: Subject): MapBucket | undefined {
  const group = groupOf(map, move);
  const children = isReshape(move) ? bucketsIn(group, move.children) : [];
  const parents = bucketsIn(group, move.parents);
  const present = children.length > 0 ? children : parents.length === move.parents.length ? parents : [];
  const [first] = present;
  if (first === undefined) return undefined;
  const owners = [...new Set(present.map(({ shard }) => shard))];
  // One that somebody else has announced says more than those that nobody has.
  const pending = present.find((bucket) => bucket.pending !== undefined)?.pending;
  return {
    owner: owners.join(' and '),
    epoch: Math.max(...present.map(({ epoch }) => epoch)),
    mapEpoch: map.epoch,
    ...(pending === undefined ? {} : { pending }),
  };
}

/** The map after a step; `undefined` when the map is not as the step needs it. */
export function changeMap(
  map: ShardMapSpec,
  move: Subject & Pick<Move, 'key' | 'from' | 'to'>,
  step: MapStep,
): ShardMapSpec | undefined {
  if (step.kind === 'clear-pending') return clearPending(map, move, step.attempt);
  const group = groupOf(map, move);
  const parents = bucketsIn(group, move.parents);
  const isThere = parents.length === move.parents.length && parents.every(({ shard }) => shard === move.from);
  if (group === undefined || !isThere) return undefined;
  if (step.kind === 'announce') {
    if (parents.some(({ pending }) => pending !== undefined)) return undefined;
    const pending = { move: move.key, attempt: step.attempt };
    return withBuckets(map, group, (bucket) => (parents.includes(bucket) ? { ...bucket, pending } : bucket));
  }
  if (!parents.every((bucket) => isPending(bucket, move.key, step.attempt))) return undefined;
  const others = group.buckets.filter((bucket) => !parents.includes(bucket));
  if (bucketsIn({ ...group, buckets: others }, move.children).length > 0) return undefined;
  // The epoch is the one that was prepared on the shards; another move may have raised the map's since.
  const children = move.children.map((child): Bucket => ({ ...child, shard: move.to, epoch: step.epoch }));
  const changed = { ...group, buckets: [...others, ...children].sort((a, b) => a.id - b.id) };
  return { ...withGroup(map, changed), epoch: Math.max(map.epoch + 1, step.epoch) };
}

/** Takes back what a move has announced; `undefined` when it has not. */
export function clearPending(
  map: ShardMapSpec,
  move: Pick<Move, 'group' | 'key'>,
  attempt: number,
): ShardMapSpec | undefined {
  const group = groupOf(map, move);
  const isMine = (bucket: Bucket) => isPending(bucket, move.key, attempt);
  if (group === undefined || !group.buckets.some(isMine)) return undefined;
  return withBuckets(map, group, (bucket) => {
    if (!isMine(bucket)) return bucket;
    const { pending: _, ...settled } = bucket;
    return settled;
  });
}

function isPending({ pending }: Bucket, move: string, attempt: number): boolean {
  return pending?.move === move && pending.attempt === attempt;
}

function groupOf(map: ShardMapSpec, { group }: Pick<Move, 'group'>): BucketGroup | undefined {
  return map.groups.find(({ name }) => name === group);
}

function bucketsIn(group: BucketGroup | undefined, wanted: readonly { readonly id: number }[]): Bucket[] {
  return (group?.buckets ?? []).filter((bucket) => wanted.some(({ id }) => id === bucket.id));
}

function withBuckets(
  map: ShardMapSpec,
  group: BucketGroup,
  change: (bucket: Bucket) => Bucket,
): ShardMapSpec {
  return withGroup(map, { ...group, buckets: group.buckets.map(change) });
}

function withGroup(map: ShardMapSpec, changed: BucketGroup): ShardMapSpec {
  return { ...map, groups: map.groups.map((group) => (group.name === changed.name ? changed : group)) };
}
