import type { Bucket, BucketBound, BucketGroup, ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import type { Connection, ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { bucketOfKey, hasTenant, keyInside, medianKey } from '../../postgres/move/key.ts';
import {
  insufficientPrivilege,
  PostgresError,
  queryCanceled,
  UnreachableError,
} from '../../postgres/postgres-error.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { type Group, layoutOf } from '../../sharding/layout.ts';
import { outside } from '../../sharding/reshape.ts';
import { shardMapType } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../sharded-cluster/model.ts';
import { measureBuckets } from './bucket-size.ts';
import type { ShardMove } from './model.ts';
import { outcomeOf } from './outcome.ts';
import { isRefusal, type Refusal, refusalOfBuckets } from './refusal.ts';

/** What is written down before anything is made: which keys go where from. */
export interface Beginning {
  readonly from: string;
  readonly parents: readonly BucketBound[];
  readonly children: readonly BucketBound[];
  /** Size of the parents; absent while their shard has no primary. */
  readonly bytes?: number;
}

/** What a beginning is made from. */
export interface BeginningOptions {
  readonly client: KubeClient;
  readonly connections: Connections;
  readonly cluster: ShardedCluster;
  readonly map: ShardMapObject;
  readonly primaries: ReadonlyMap<string, ConnectOptions>;
  readonly signal: AbortSignal;
}

/**
 * Asks the shards what the spec leaves open (a tenant's bucket, the median of a range), and then takes the numbers of new buckets out
 * of the map, by compare-and-swap, so that no other move ever gets them. An UnreachableError says that a shard did not answer.
 */
export async function beginningOf(
  { spec }: ShardMove,
  options: BeginningOptions,
): Promise<Beginning | Refusal> {
  const { client, cluster, map, primaries, signal } = options;
  const owned = map.spec.groups.find(({ name }) => name === spec.group);
  const group = layoutOf(cluster.spec.tables).groups.find(({ name }) => name === spec.group);
  if (owned === undefined || group === undefined) {
    return { reason: 'NoSuchGroup', message: `group "${spec.group}" is not in spec.tables any more` };
  }
  const buckets =
    spec.operation === 'isolate'
      ? await tenantBucket(spec, owned, group, options)
      : owned.buckets.filter(({ id }) => spec.buckets.includes(id));
  if (isRefusal(buckets)) return buckets;
  const refusal = refusalOfBuckets({ spec }, cluster, owned, buckets);
  if (refusal !== undefined) return refusal;
  const point = await splitPoint(spec, group, buckets, options);
  if (isRefusal(point)) return point;
  const outcome = outcomeOf(spec, owned, buckets, point.key);
  if (isRefusal(outcome)) return outcome;
  const from = buckets[0]?.shard ?? '';
  const ids = buckets.map(({ id }) => id);
  const size = primaries.has(from)
    ? { bytes: await ask(options, from, (connection) => measureBuckets(connection, spec.group, ids)) }
    : {};
  // Last, since each try uses up numbers.
  if (outcome.group !== undefined) {
    const groups = map.spec.groups.map((other) => (other === owned ? (outcome.group ?? other) : other));
    await client.update(shardMapType, { ...map, spec: { ...map.spec, groups } }, { signal });
  }
  const { parents, children } = outcome;
  return { from, parents, children, ...size };
}

/** Whether a beginning that could not be written down is still right: its numbers are used up, and no other is to take more. */
export function isStillSo({ from, parents }: Beginning, group: string, map: ShardMapSpec): boolean {
  const { buckets = [] } = map.groups.find(({ name }) => name === group) ?? {};
  return parents.every(({ id }) => buckets.some((bucket) => bucket.id === id && bucket.shard === from));
}

/**
 * What comes of an error of PostgreSQL's before the beginning. A right that is missing is for somebody to grant, and to make the move
 * again; a question that takes too long is not asked again at once.
 */
export function afterPostgresError({
  sqlstate,
  message,
}: Pick<PostgresError, 'sqlstate' | 'message'>): Refusal | { readonly requeueAfterMs: number } {
  if (sqlstate === insufficientPrivilege) return { reason: 'NotPermitted', message };
  return { requeueAfterMs: sqlstate === queryCanceled ? 60_000 : 5_000 };
}

function ask<T>(
  { connections, primaries, signal }: BeginningOptions,
  shard: string,
  question: (connection: Connection) => Promise<T>,
): Promise<T> {
  const primary = primaries.get(shard);
  if (primary === undefined) throw new UnreachableError(`shard ${shard} has no primary that is ready`);
  return connections.use(primary, question, signal);
}

/** The bucket of the default that a tenant's rows are in. */
async function tenantBucket(
  { tenant = '', to }: ShardMove['spec'],
  owned: BucketGroup,
  layout: Group,
  options: BeginningOptions,
): Promise<Bucket[] | Refusal> {
  const place = await refusable('tenant', tenant, () =>
    ask(options, to, (connection) => bucketOfKey(connection, layout, tenant)),
  );
  if (place !== undefined && isRefusal(place)) return place;
  const bucket = owned.buckets.find(({ id }) => id === place?.bucket);
  const hasRows =
    bucket !== undefined &&
    (await ask(options, bucket.shard, (connection) => hasTenant(connection, layout, bucket, tenant)));
  if (hasRows) return [bucket];
  const message = `no row of group "${layout.name}" is of tenant "${tenant}": see to its spelling, or insert its first row before`;
  return { reason: 'NoSuchTenant', message };
}

/** Where a range is split: where the spec says, or at the median. */
async function splitPoint(
  { operation, at, parts }: ShardMove['spec'],
  layout: Group,
  [bucket]: readonly Bucket[],
  options: BeginningOptions,
): Promise<{ readonly key: string | undefined } | Refusal> {
  if (operation !== 'split' || bucket?.range === undefined || parts !== undefined) return { key: at };
  const { range, shard } = bucket;
  if (at === undefined) {
    const key = await ask(options, shard, (connection) => medianKey(connection, layout, bucket));
    if (key !== undefined) return { key };
    const message = `the rows of bucket ${bucket.id} have one key, or there are none, so that it has no median: write "at"`;
    return { reason: 'NoMedian', message };
  }
  const key = await refusable('at', at, () =>
    ask(options, shard, (connection) => keyInside(connection, layout, range, at)),
  );
  if (typeof key === 'object') return key;
  return key === undefined ? { reason: 'BoundOutside', message: outside(range, at) } : { key };
}

/** A value that is none of the key's type is an error of PostgreSQL's class 22; one that its domain refuses, of class 23. */
async function refusable<T>(field: string, value: string, work: () => Promise<T>): Promise<T | Refusal> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof PostgresError) || !/^2[23]/.test(error.sqlstate)) throw error;
    return {
      reason: 'WrongType',
      message: `"${field}: ${value}" is not a key of this group: ${error.message}`,
    };
  }
}
