import type { Bound, Bucket, BucketBound, BucketGroup } from '../../api/v1alpha1/shard-map.ts';
import type { ShardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { nextBucketId } from '../../sharding/bucket-ids.ts';
import { hasPlace } from '../../sharding/names.ts';
import { isolateTenant, mergeBounds, type Reshaped, splitHash, splitRange } from '../../sharding/reshape.ts';
import type { Refusal } from './refusal.ts';

/** Most buckets of one group, and the end of their numbers. */
const mostBuckets = 1024;
const mostIds = 10_000;
const defaultParts = 2;

/** Which buckets a move takes, and which it makes of them. */
export interface Outcome {
  readonly parents: readonly BucketBound[];
  readonly children: readonly BucketBound[];
  /** The group, with the numbers of new buckets given away; absent when there are none. */
  readonly group?: BucketGroup;
}

/** What comes of a move of these buckets; `at` is where a range is split. */
export function outcomeOf(
  spec: Pick<ShardMoveSpec, 'operation' | 'tenant' | 'parts' | 'at'>,
  group: BucketGroup,
  buckets: readonly Bucket[],
  at: string | undefined = spec.at,
): Outcome | Refusal {
  const parents = buckets.map(boundOf);
  if (spec.operation === 'move') return { parents, children: parents };
  if (parents.some((bound) => bound.range !== undefined && hasPlace(bound, group))) {
    const message = `ranges of group "${group.name}" are beside a DEFAULT, where they can be moved, but not split or merged`;
    return { reason: 'BesideDefault', message };
  }
  const reshaped = reshape({ ...spec, at }, parents);
  if (reshaped.kind === 'refused') {
    const { code, message } = reshaped.problem;
    return { reason: code, message };
  }
  const first = nextBucketId(group);
  const { bounds } = reshaped;
  if (group.buckets.length - parents.length + bounds.length > mostBuckets) {
    const message = `group "${group.name}" would have more than ${mostBuckets} buckets: merge others first`;
    return { reason: 'TooManyBuckets', message };
  }
  if (first + bounds.length > mostIds) {
    const message = `group "${group.name}" has used up its ${mostIds} numbers of buckets`;
    return { reason: 'TooManyBuckets', message };
  }
  const children = bounds.map((bound: Bound, index): BucketBound => ({ id: first + index, ...bound }));
  return { parents, children, group: { ...group, nextId: first + bounds.length } };
}

function boundOf({ shard: _, epoch: __, pending: ___, ...bound }: Bucket): BucketBound {
  return bound;
}

function reshape(
  { operation, tenant = '', parts, at }: Pick<ShardMoveSpec, 'operation' | 'tenant' | 'parts' | 'at'>,
  parents: readonly BucketBound[],
): Reshaped {
  const [parent] = parents;
  if (operation === 'merge' || parent === undefined) return mergeBounds(parents);
  if (operation === 'isolate') return isolateTenant(parent, tenant);
  return at === undefined ? splitHash(parent, parts ?? defaultParts) : splitRange(parent, at);
}
