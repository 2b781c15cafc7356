import { isDeepStrictEqual } from 'node:util';
import type { Bucket } from '../../api/v1alpha1/shard-map.ts';
import type { Change } from '../../runtime/informer.ts';
import type { ShardMapObject } from './model.ts';

/**
 * How long after a change of an owner others look: whoever waits for the move that has made it goes first, on servers that have
 * few processors, and in this process.
 */
export const mapDelayMs = 250;

/**
 * Whether a map says something else of buckets than before. That one is announced to move concerns its move alone; to read every
 * marker at that moment would keep the fence from its lock.
 */
export function isMapChanged({ old, current }: Change<ShardMapObject>): boolean {
  if (old === undefined || current === undefined) return true;
  if (old.metadata.deletionTimestamp !== current.metadata.deletionTimestamp) return true;
  return !isDeepStrictEqual(settled(old), settled(current));
}

function settled({ spec }: ShardMapObject): unknown {
  const without = ({ pending: _, ...bucket }: Bucket) => bucket;
  return { ...spec, groups: spec.groups.map((group) => ({ ...group, buckets: group.buckets.map(without) })) };
}
