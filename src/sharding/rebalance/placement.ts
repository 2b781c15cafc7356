import type { Bucket, BucketGroup } from '../../api/v1alpha1/shard-map.ts';
import type { Group, Layout, Shard } from '../layout.ts';

/** Where a bucket may be, and whether it stays where it was put. */
export interface Placement {
  /** Shards that may own it; none: all. */
  readonly allowed?: readonly string[];
  readonly isPinned: boolean;
}

/**
 * What the layout says of a bucket's place. Shards and zones of a region are a rule; the shard of a tenant or a range is
 * where it starts, so the bucket stays there of itself, and where else somebody moved it.
 */
export function placementOf(
  bucket: Bucket,
  group: BucketGroup,
  layout: Layout,
  shards: readonly Shard[],
): Placement {
  const wanted = layout.groups.find((candidate) => candidate.name === group.name);
  if (wanted === undefined) return { isPinned: false };
  const allowed = shardsOfRegion(bucket, wanted, shards);
  return {
    isPinned: startOf(bucket, wanted) === bucket.shard,
    ...(allowed === undefined ? {} : { allowed }),
  };
}

function shardsOfRegion(
  bucket: Bucket,
  group: Group,
  shards: readonly Shard[],
): readonly string[] | undefined {
  const region = group.regions.find((candidate) => candidate.name === bucket.region);
  if (region?.shards !== undefined) return region.shards;
  const zones = region?.zones;
  if (zones === undefined) return undefined;
  return shards.filter(({ zone }) => zone !== undefined && zones.includes(zone)).map(({ name }) => name);
}

/** Shard on which a tenant or a range starts, when the spec names one. */
function startOf(bucket: Bucket, group: Group): string | undefined {
  if (bucket.range !== undefined) {
    const { from, to } = bucket.range;
    return group.bounds.find((bound) => bound.from === from && bound.to === to)?.shard;
  }
  if (bucket.region !== undefined || bucket.values === undefined) return undefined;
  return group.tenants.find((tenant) => bucket.values?.length === 1 && bucket.values[0] === tenant.value)
    ?.shard;
}
