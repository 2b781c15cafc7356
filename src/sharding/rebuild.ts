import type { Bucket, BucketGroup, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import { isReshaped, nextBucketId } from './bucket-ids.ts';
import { markerName } from './names.ts';
import type { Problem } from './problem.ts';
import type { MirrorRow, MovingBucket, ShardCatalog } from './shard-catalog.ts';

/** What a shard answered when asked for its markers; `unknown` if it did not. */
export type ShardAnswer =
  | Pick<ShardCatalog, 'markers' | 'mirror' | 'preparedTransactions' | 'moving'>
  | 'unknown';

/** The map made again, or why not. `empty`: no shard has ever had a map, so that a first one may be made. */
export type Rebuilt =
  | { readonly kind: 'rebuilt'; readonly map: ShardMapSpec }
  | { readonly kind: 'empty' }
  | { readonly kind: 'refused'; readonly problems: readonly Problem[] };

/**
 * Makes a map that went missing again: owners from the markers, bounds from the mirrors. Only when every shard has answered,
 * no prepared transaction is open (its marker is about to appear or to go) and no two shards claim a bucket.
 */
export function rebuildFromMarkers(
  cluster: string,
  shards: readonly string[],
  answers: ReadonlyMap<string, ShardAnswer>,
): Rebuilt {
  const problems: Problem[] = [];
  const known: { shard: string; answer: Exclude<ShardAnswer, 'unknown'> }[] = [];
  for (const shard of shards) {
    const answer = answers.get(shard) ?? 'unknown';
    if (answer === 'unknown') {
      problems.push({
        code: 'shard-silent',
        message: `shard "${shard}" has not answered: bring its primary back`,
      });
    } else if (answer.preparedTransactions > 0) {
      problems.push({
        code: 'prepared-transactions',
        message: `shard "${shard}" has ${answer.preparedTransactions} prepared transactions: end them first`,
      });
    } else known.push({ shard, answer });
  }
  if (problems.length > 0) return { kind: 'refused', problems };
  if (known.every(({ answer }) => answer.markers.length === 0 && answer.mirror.length === 0))
    return { kind: 'empty' };

  const rows = newestRows(known.flatMap(({ answer }) => answer.mirror));
  const owners = new Map<string, { shard: string; epoch: number }>();
  for (const { shard, answer } of known) {
    for (const marker of answer.markers) {
      const other = owners.get(marker.name);
      if (other !== undefined) {
        problems.push({
          code: 'two-owners',
          message: `shards "${other.shard}" and "${shard}" both have the marker "${marker.name}": only one may own the bucket`,
        });
      } else if (marker.epoch === null) {
        problems.push({
          code: 'marker-empty',
          message: `shard "${shard}": the marker "${marker.name}" has no row`,
        });
      } else owners.set(marker.name, { shard, epoch: marker.epoch });
    }
  }
  const groups = new Map<string, { name: string; strategy: MirrorRow['strategy']; buckets: Bucket[] }>();
  const owned = rows.filter((row) => owners.has(markerName(row.group_name, row.bucket)));
  for (const row of rows) {
    const name = markerName(row.group_name, row.bucket);
    const owner = owners.get(name);
    owners.delete(name);
    if (owner === undefined && owned.some((other) => tookPlaceOf(other, row))) continue;
    if (owner === undefined) {
      problems.push({
        code: 'no-owner',
        message: `no shard has the marker "${name}"; the mirrors name shard "${row.shard}"`,
      });
      continue;
    }
    const group = groups.get(row.group_name) ?? { name: row.group_name, strategy: row.strategy, buckets: [] };
    group.buckets.push(bucketOf(row, owner));
    groups.set(row.group_name, group);
  }
  for (const [name, owner] of owners) {
    problems.push({
      code: 'unknown-bucket',
      message: `shard "${owner.shard}" has the marker "${name}" of a bucket that no mirror describes`,
    });
  }
  if (problems.length > 0) return { kind: 'refused', problems };
  const epochs = [...groups.values()].flatMap((group) => group.buckets.map((bucket) => bucket.epoch));
  const epoch = Math.max(0, ...epochs, ...rows.map((row) => row.epoch)) + 1;
  const given = [...known.flatMap(({ answer }) => answer.moving), ...rows.map(givenTo)];
  return {
    kind: 'rebuilt',
    map: { cluster, epoch, groups: [...groups.values()].map((group) => withNextId(group, given)) },
  };
}

function givenTo({ group_name: group, bucket }: MirrorRow): MovingBucket {
  return { group, bucket };
}

/** A number that a shard has ever seen is not given again. */
export function withNextId(group: BucketGroup, given: readonly MovingBucket[]): BucketGroup {
  const nextId = Math.max(
    ...given.filter((other) => other.group === group.name).map(({ bucket }) => bucket + 1),
  );
  return nextId > nextBucketId(group) || isReshaped(group) ? { ...group, nextId } : group;
}

/** Whether a bucket that has its marker takes keys of one that was split, isolated from or merged before. */
function tookPlaceOf(owned: MirrorRow, gone: MirrorRow): boolean {
  if (owned.group_name !== gone.group_name || owned.epoch <= gone.epoch || owned.region !== gone.region) {
    return false;
  }
  if (owned.modulus !== null && gone.modulus !== null) {
    const smaller = Math.min(owned.modulus, gone.modulus);
    return (owned.remainder ?? 0) % smaller === (gone.remainder ?? 0) % smaller;
  }
  return (
    owned.strategy === 'range' && (owned.range_from === gone.range_from || owned.range_to === gone.range_to)
  );
}

/** Of each bucket the row with the newest epoch, by number. */
export function newestRows(rows: readonly MirrorRow[]): MirrorRow[] {
  const newest = new Map<string, MirrorRow>();
  for (const row of rows) {
    const name = markerName(row.group_name, row.bucket);
    if ((newest.get(name)?.epoch ?? 0) < row.epoch) newest.set(name, row);
  }
  return [...newest.values()].sort((a, b) => a.bucket - b.bucket);
}

/** A bucket as the mirror describes it. */
export function bucketOf(row: MirrorRow, owner: Pick<Bucket, 'shard' | 'epoch'>): Bucket {
  return {
    id: row.bucket,
    shard: owner.shard,
    epoch: owner.epoch,
    ...(row.modulus === null || row.remainder === null
      ? {}
      : { hash: { modulus: row.modulus, remainder: row.remainder } }),
    ...(row.strategy === 'range' && !row.is_default
      ? {
          range: {
            ...(row.range_from === null ? {} : { from: row.range_from }),
            ...(row.range_to === null ? {} : { to: row.range_to }),
          },
        }
      : {}),
    ...(row.region === null ? {} : { region: row.region }),
    ...(row.list_values === null ? {} : { values: [...row.list_values] }),
    ...(row.is_default ? { isDefault: true } : {}),
  };
}
