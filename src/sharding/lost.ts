import type { Bucket, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import { markerName } from './names.ts';
import type { Problem } from './problem.ts';
import { isMoving, type ShardCatalog } from './shard-catalog.ts';

/** The buckets that a shard has lost. While there are any no empty leaf takes their place: who writes there is refused. */
export function lostProblems(shard: string, map: ShardMapSpec, catalog: ShardCatalog): Problem[] {
  return map.groups.flatMap((group) =>
    group.buckets.flatMap((bucket): Problem[] => {
      const from = lostFrom(shard, group.name, bucket, catalog);
      if (from === undefined) return [];
      const message =
        `shard "${shard}" has lost bucket ${bucket.id} of group "${group.name}", which had come from "${from}", in a failover. ` +
        `Until the move's retention ends its rows are on "${from}", in the tables whose comment says "moved to ${shard}". ` +
        `To go on with an empty bucket, and copy them there, run on "${shard}": ` +
        `DELETE FROM herdsman.shard_map WHERE group_name = '${group.name}' AND bucket = ${bucket.id}`;
      return [{ code: 'lost-bucket', message }];
    }),
  );
}

/**
 * The shard that a lost bucket came from: the map gives it to this shard, which itself knows it only as that other's. The
 * transaction that brought it, with its rows, is gone; a failover does that where commits wait for no standby.
 */
function lostFrom(shard: string, group: string, bucket: Bucket, catalog: ShardCatalog): string | undefined {
  if (bucket.shard !== shard || bucket.pending !== undefined || isMoving(catalog, group, bucket.id))
    return undefined;
  const name = markerName(group, bucket.id);
  if (catalog.markers.some((marker) => marker.name === name)) return undefined;
  const row = catalog.mirror.find((known) => known.group_name === group && known.bucket === bucket.id);
  return row !== undefined && row.shard !== shard && row.epoch < bucket.epoch ? row.shard : undefined;
}
