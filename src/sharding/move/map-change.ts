import type { Bucket, ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import type { MapBucket, Move, Step } from './model.ts';

/** The steps that are a compare-and-swap of the map. */
export type MapStep = Extract<Step, { kind: 'announce' | 'decide' | 'clear-pending' }>;

/** What of a move says which bucket it is about. */
type Subject = Pick<Move, 'group' | 'bucket'>;

/** The bucket that a move is about, as the map has it. */
export function mapBucket(map: ShardMapSpec, move: Subject): MapBucket | undefined {
  const bucket = map.groups
    .find((group) => group.name === move.group)
    ?.buckets.find((candidate) => candidate.id === move.bucket);
  if (bucket === undefined) return undefined;
  const { shard: owner, epoch, pending } = bucket;
  return { owner, epoch, mapEpoch: map.epoch, ...(pending === undefined ? {} : { pending }) };
}

/** The map after a step; `undefined` when the map is not as the step needs it. */
export function changeMap(
  map: ShardMapSpec,
  move: Subject & Pick<Move, 'key'> & Partial<Pick<Move, 'from' | 'to'>>,
  step: MapStep,
): ShardMapSpec | undefined {
  const current = mapBucket(map, move);
  if (current === undefined) return undefined;
  const isMine = current.pending?.move === move.key && current.pending.attempt === step.attempt;
  switch (step.kind) {
    case 'announce':
      if (current.pending !== undefined || current.owner !== move.from) return undefined;
      return withBucket(map, move, (bucket) => ({
        ...bucket,
        pending: { move: move.key, attempt: step.attempt },
      }));
    case 'clear-pending':
      if (!isMine) return undefined;
      return withBucket(map, move, ({ pending: _, ...bucket }) => bucket);
    case 'decide': {
      const { to } = move;
      if (!isMine || to === undefined || current.owner !== move.from) return undefined;
      // The bucket's epoch is the one that was prepared on the shards; another move may have raised the map's since.
      const epoch = Math.max(map.epoch + 1, step.epoch);
      const changed = withBucket(map, move, ({ pending: _, ...bucket }) => ({
        ...bucket,
        shard: to,
        epoch: step.epoch,
      }));
      return { ...changed, epoch };
    }
  }
}

function withBucket(map: ShardMapSpec, move: Subject, change: (bucket: Bucket) => Bucket): ShardMapSpec {
  return {
    ...map,
    groups: map.groups.map((group) =>
      group.name === move.group
        ? {
            ...group,
            buckets: group.buckets.map((bucket) => (bucket.id === move.bucket ? change(bucket) : bucket)),
          }
        : group,
    ),
  };
}
