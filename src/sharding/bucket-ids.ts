import type { BucketGroup } from '../api/v1alpha1/shard-map.ts';

/** Number that the next new bucket of a group gets; one that was given is never given again. */
export function nextBucketId({ buckets, nextId = 0 }: Pick<BucketGroup, 'buckets' | 'nextId'>): number {
  return Math.max(nextId, ...buckets.map(({ id }) => id + 1));
}

/** Whether some bucket of a group was split, isolated from or merged: its number is gone for good. */
export function isReshaped({ buckets }: Pick<BucketGroup, 'buckets'>): boolean {
  return buckets.some(({ id }) => id >= buckets.length);
}
