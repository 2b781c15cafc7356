import type { BucketBound } from '../../api/v1alpha1/shard-map.ts';
import type { Move } from './model.ts';

/** What of a move says which buckets it is about. */
export type MovedBuckets = Pick<Move, 'parents' | 'children'>;

/** Whether other buckets take the place of those that the source gives away. */
export function isReshape({ parents, children }: MovedBuckets): boolean {
  return parents.length !== children.length || parents.some(({ id }, index) => children[index]?.id !== id);
}

/** Numbers of all buckets that a move is about, parents first. */
export function idsOf({ parents, children }: MovedBuckets): number[] {
  return [...new Set([...parents, ...children].map(({ id }) => id))];
}

/** The buckets that a move is about, on one side of it. */
export function bucketsOn(move: MovedBuckets, side: 'source' | 'target'): readonly BucketBound[] {
  return side === 'source' ? move.parents : move.children;
}

/** How a message names buckets: `bucket 7`, `buckets 64 and 65`. */
export function bucketsText(buckets: readonly { readonly id: number }[]): string {
  const ids = buckets.map(({ id }) => String(id));
  const last = ids.at(-1) ?? '';
  return ids.length < 2 ? `bucket ${last}` : `buckets ${ids.slice(0, -1).join(', ')} and ${last}`;
}
