import type { BucketBound } from '../api/v1alpha1/shard-map.ts';

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

/** Name of the table whose partition a bucket's leaf is. */
export function leafParent(table: string, bucket: BucketBound): string {
  if (bucket.hash === undefined) return table;
  if (bucket.region !== undefined) return regionName(table, bucket.region);
  return bucket.isDefault === true ? defaultName(table) : table;
}
