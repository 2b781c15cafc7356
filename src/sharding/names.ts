import type { Bound, BucketBound, BucketGroup } from '../api/v1alpha1/shard-map.ts';

/** Schema of the users' tables. */
export const applicationSchema = 'public';
/** Longest name that PostgreSQL keeps, in bytes. */
export const maxNameBytes = 63;

/** Suffix that the leaves and the marker of a bucket share: `b0007`. */
function bucketSuffix(id: number): string {
  return `b${String(id).padStart(4, '0')}`;
}

/** Name of a table's leaf of a bucket: `orders_b0007`. */
export function leafName(table: string, id: number): string {
  return `${table}_${bucketSuffix(id)}`;
}

/** Name of a group's marker of a bucket, in schema `own`: `customer_b0007`. */
export function markerName(group: string, id: number): string {
  return `${group}_${bucketSuffix(id)}`;
}

/** Name of the partitioned table between a geographic table and the buckets of one region. */
export function regionName(table: string, region: string): string {
  return `${table}_r_${region}`;
}

/** Name of the partitioned table between a directory table and the buckets of the tenants without one of their own. */
export function defaultName(table: string): string {
  return `${table}_default`;
}

/**
 * Name of the partitioned table that holds the place of a bucket beside a DEFAULT on every shard: `orders_p0007`. Where the bucket is
 * not, it is empty, and PostgreSQL refuses the rows instead of taking them into the DEFAULT. A bucket that comes or goes does
 * so below it, and locks no DEFAULT.
 */
export function placeName(table: string, id: number): string {
  return `${table}_p${String(id).padStart(4, '0')}`;
}

/** Whether a bucket has such a place: a tenant's beside the default, or a range of a group with a default. */
export function hasPlace(
  { values, region, range }: Bound,
  { buckets }: { readonly buckets: BucketGroup['buckets'] },
): boolean {
  if (values !== undefined && region === undefined) return true;
  return range !== undefined && buckets.some(({ isDefault }) => isDefault === true);
}

/** Name of the table whose partition a bucket's leaf is. */
export function leafParent(
  table: string,
  bucket: BucketBound,
  group: { readonly buckets: BucketGroup['buckets'] },
): string {
  if (hasPlace(bucket, group)) return placeName(table, bucket.id);
  if (bucket.hash === undefined) return table;
  if (bucket.region !== undefined) return regionName(table, bucket.region);
  return bucket.isDefault === true ? defaultName(table) : table;
}
