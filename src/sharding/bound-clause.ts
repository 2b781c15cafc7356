import type { BucketBound } from '../api/v1alpha1/shard-map.ts';
import { quoteLiteral } from '../postgres/identifier.ts';

/** The bound of a bucket as the clause of its leaf. */
export function boundClause(bucket: BucketBound): string {
  if (bucket.hash !== undefined) {
    return `FOR VALUES WITH (MODULUS ${bucket.hash.modulus}, REMAINDER ${bucket.hash.remainder})`;
  }
  if (bucket.range !== undefined) {
    const from = bucket.range.from === undefined ? 'MINVALUE' : quoteLiteral(bucket.range.from);
    const to = bucket.range.to === undefined ? 'MAXVALUE' : quoteLiteral(bucket.range.to);
    return `FOR VALUES FROM (${from}) TO (${to})`;
  }
  return bucket.values === undefined ? 'DEFAULT' : listClause(bucket.values);
}

/** The clause of a partition that takes these values. */
export function listClause(values: readonly string[]): string {
  return `FOR VALUES IN (${values.map(quoteLiteral).join(', ')})`;
}
