import type { Bucket, BucketGroup, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import { bucketOfLeaf } from './foreign-keys.ts';
import type { Group, Layout } from './layout.ts';
import { lostProblems } from './lost.ts';
import { defaultName, leafParent, markerName, placeName, regionName } from './names.ts';
import type { Problem } from './problem.ts';
import { type CatalogTable, isMoving, type ShardCatalog } from './shard-catalog.ts';

/** What a shard holds against the map: nothing of it is ever dropped by planning, somebody has to look at it. */
export function leafProblems(
  shard: string,
  map: ShardMapSpec,
  layout: Layout,
  catalog: ShardCatalog,
): Problem[] {
  // What a move has just changed may be newer than the map that was read.
  const moving = new Set(catalog.moving.map(({ group, bucket }) => markerName(group, bucket)));
  const seen = Math.max(
    0,
    ...catalog.mirror.filter((row) => !isMoving(catalog, row.group_name, row.bucket)).map((row) => row.epoch),
    ...catalog.markers.filter(({ name }) => !moving.has(name)).map((marker) => marker.epoch ?? 0),
  );
  if (seen > map.epoch) {
    return [
      {
        code: 'map-behind',
        message:
          `shard "${shard}" has recorded epoch ${seen}, and the ShardMap is at ${map.epoch}: the map is older than the data. ` +
          'Put the newer ShardMap back; nothing is changed until then',
      },
    ];
  }
  return [
    ...markerProblems(shard, map, catalog),
    ...lostProblems(shard, map, catalog),
    ...partitionProblems(shard, map, layout, catalog),
  ];
}

function markerProblems(shard: string, map: ShardMapSpec, catalog: ShardCatalog): Problem[] {
  const buckets = new Map<string, Bucket>();
  for (const group of map.groups) {
    for (const bucket of group.buckets) buckets.set(markerName(group.name, bucket.id), bucket);
  }
  const moving = new Set(catalog.moving.map(({ group, bucket }) => markerName(group, bucket)));
  return catalog.markers.flatMap((marker): Problem[] => {
    const bucket = buckets.get(marker.name);
    if (bucket?.pending !== undefined || moving.has(marker.name)) return [];
    if (bucket === undefined) {
      const message = `shard "${shard}" has the marker "${marker.name}" of a bucket that is not in the ShardMap`;
      return [{ code: 'unknown-marker', message }];
    }
    if (bucket.shard !== shard) {
      const message = `shard "${shard}" has the marker "${marker.name}", and the ShardMap gives the bucket to "${bucket.shard}"`;
      return [{ code: 'stray-marker', message }];
    }
    if (marker.epoch === null || marker.epoch === bucket.epoch) return [];
    const message =
      `shard "${shard}": the marker "${marker.name}" says epoch ${marker.epoch}, and the ShardMap ${bucket.epoch}: ` +
      'one of the two was restored from an older state';
    return [{ code: 'marker-epoch', message }];
  });
}

function partitionProblems(
  shard: string,
  map: ShardMapSpec,
  layout: Layout,
  catalog: ShardCatalog,
): Problem[] {
  return layout.groups.flatMap((group) => {
    const known = map.groups.find((candidate) => candidate.name === group.name);
    if (known === undefined) return [];
    const buckets = new Map(known.buckets.map((bucket) => [bucket.id, bucket]));
    return group.tables.flatMap((table) => {
      const middle = new Set([
        ...(group.strategy === 'directory' ? [defaultName(table.name)] : []),
        ...group.regions.map((region) => regionName(table.name, region.name)),
        ...known.buckets.map(({ id }) => placeName(table.name, id)),
      ]);
      return catalog.tables
        .filter((found) => found.parent === table.name || (found.parent !== null && middle.has(found.parent)))
        .filter((found) => !middle.has(found.name))
        .filter((found) => !isMoving(catalog, group.name, bucketOf(found.name)))
        .flatMap((found) => partitionProblem(shard, group, known, table.name, found, buckets));
    });
  });
}

/** Number of the bucket of a leaf, or of a place that a move makes; -1 for other tables. */
function bucketOf(name: string): number {
  return bucketOfLeaf(name.replace(/_p([0-9]{4})$/, '_b$1'))[1];
}

function partitionProblem(
  shard: string,
  group: Group,
  known: BucketGroup,
  table: string,
  found: CatalogTable,
  buckets: ReadonlyMap<number, Bucket>,
): Problem[] {
  const [root, id] = bucketOfLeaf(found.name);
  const bucket = root === table ? buckets.get(id) : undefined;
  if (bucket === undefined) {
    const message =
      `shard "${shard}": "${found.name}" is a partition of "${table}" that is not of group "${group.name}"'s buckets: ` +
      'take it out of the migrations (partitions are made by the operator), and drop it';
    return [{ code: 'unknown-partition', message }];
  }
  if (bucket.pending !== undefined) return [];
  if (found.refuses) {
    if (bucket.shard !== shard) return [];
    const message = `shard "${shard}" owns bucket ${id} of group "${group.name}", and "${found.name}" still refuses rows`;
    return [{ code: 'refusing-leaf', message }];
  }
  if (bucket.shard !== shard) {
    const message =
      `shard "${shard}" has the leaf "${found.name}", and the ShardMap gives the bucket to "${bucket.shard}": it may hold ` +
      'rows, so it is left alone';
    return [{ code: 'stray-leaf', message }];
  }
  const wanted =
    bucket.hash && `FOR VALUES WITH (modulus ${bucket.hash.modulus}, remainder ${bucket.hash.remainder})`;
  if (found.parent === leafParent(table, bucket, known) && (wanted === undefined || found.bound === wanted))
    return [];
  const message = `shard "${shard}": "${found.name}" has the bound ${found.bound} below "${found.parent}", not the ShardMap's`;
  return [{ code: 'wrong-bound', message }];
}
