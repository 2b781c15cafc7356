import type { Bucket, BucketGroup, ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import type { ShardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { layoutOf } from '../../sharding/layout.ts';
import { bucketsText } from '../../sharding/move/buckets.ts';
import { placementOf } from '../../sharding/rebalance/placement.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { heldByConversion } from '../sharded-cluster/reversible.ts';
import { wantedShards } from '../sharded-cluster/steps/shards.ts';
import type { ShardMove } from './model.ts';

/** Why a move is never begun. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** Whether something is a refusal. */
export function isRefusal(value: object): value is Refusal {
  return 'reason' in value;
}

/**
 * What is wrong with a move that has not begun, as far as map and spec tell; `undefined` when nothing is. The bucket of a tenant
 * is not known yet.
 */
export function refusalOf(
  { spec }: ShardMove,
  cluster: ShardedCluster,
  map: ShardMapSpec,
  reversed?: ShardMove,
): Refusal | undefined {
  const group = map.groups.find((candidate) => candidate.name === spec.group);
  if (group === undefined) {
    const names = map.groups.map(({ name }) => name).join(', ') || 'none';
    return no('NoSuchGroup', `there is no group "${spec.group}": write one of the ShardMap's (${names})`);
  }
  const missing = spec.buckets.find((id) => group.buckets.every((bucket) => bucket.id !== id));
  if (missing !== undefined) {
    return no(
      'NoSuchBucket',
      `group "${spec.group}" has no bucket ${missing}: see the ShardMap for its numbers`,
    );
  }
  const names = wantedShards(cluster).map(({ name }) => name);
  if (!names.includes(spec.to)) {
    return no('NoSuchShard', `there is no shard "${spec.to}" to move to: write one of ${names.join(', ')}`);
  }
  if (spec.operation === 'isolate') return wrongTenant(spec.tenant ?? '', group);
  const buckets = group.buckets.filter(({ id }) => spec.buckets.includes(id));
  const notReverse = spec.reverseOf === undefined ? undefined : wrongReverse(spec, spec.reverseOf, reversed);
  return notReverse ?? refusalOfBuckets({ spec }, cluster, group, buckets);
}

function no(reason: string, message: string): Refusal {
  return { reason, message };
}

function wrongTenant(tenant: string, { name, strategy, buckets }: BucketGroup): Refusal | undefined {
  if (strategy !== 'directory') {
    const message =
      `group "${name}" is distributed by ${strategy}, and only a directory group has tenants: to take load off a bucket write ` +
      '"operation: split"';
    return no('NotADirectory', message);
  }
  const own = buckets.find(({ values }) => values?.includes(tenant) === true);
  if (own === undefined) return undefined;
  return no(
    'AlreadyIsolated',
    `tenant "${tenant}" has bucket ${own.id} of its own: write "operation: move" and "buckets: [${own.id}]" to move it`,
  );
}

/** What is wrong with moving these buckets. */
export function refusalOfBuckets(
  { spec }: Pick<ShardMove, 'spec'>,
  cluster: ShardedCluster,
  group: BucketGroup,
  buckets: readonly Bucket[],
): Refusal | undefined {
  const shards = wantedShards(cluster);
  const what = `${bucketsText(buckets)} of group "${spec.group}"`;
  const owners = [...new Set(buckets.map(({ shard }) => shard))];
  const [owner = ''] = owners;
  if (owners.length > 1) {
    const way =
      spec.operation === 'merge'
        ? 'move them to one shard first, and from there merge them'
        : 'write a ShardMove for those of each shard';
    const message = `${what} are on ${owners.join(' and ')}: ${way}`;
    return no('DifferentShards', message);
  }
  if (owner === spec.to) {
    if (spec.operation === 'move') return no('AlreadyThere', `${what} is on shard ${spec.to} already`);
    const other = shards.find(({ name }) => name !== owner);
    const way =
      other === undefined
        ? 'there is no other one: raise spec.shards.count of the cluster to 2 first, and move what comes of it back afterwards'
        : `write "to: ${other.name}", and move what comes of it back afterwards`;
    return no('SameShard', `${what}: rows are copied through another shard than ${owner}, and ${way}`);
  }
  if (spec.from !== undefined && owner !== spec.from) {
    const message = `${what} belongs to shard ${owner}, not to ${spec.from}: write "from: ${owner}", or leave it out`;
    return no('NotTheOwner', message);
  }
  const held = heldByConversion(cluster, spec.group);
  if (held !== undefined) return no('HeldByConversion', `group "${spec.group}" stays: ${held}`);
  const layout = layoutOf(cluster.spec.tables);
  for (const bucket of buckets) {
    const { allowed } = placementOf(bucket, group, layout, shards);
    if (allowed === undefined || allowed.includes(spec.to)) continue;
    const region = `region "${bucket.region}" may only be on ${allowed.join(', ') || 'no shard that is there'}`;
    return no('NotAllowed', `${region}: name one of them, or change the region in spec.tables`);
  }
  return undefined;
}

/** Only what is as the move left it can be taken back. */
function wrongReverse(
  { group, buckets, to }: ShardMoveSpec,
  name: string,
  reversed: ShardMove | undefined,
): Refusal | undefined {
  if (reversed === undefined) {
    return no('NothingToReverse', `there is no ShardMove "${name}": leave "reverseOf" out`);
  }
  const { spec, status } = reversed;
  if (status?.phase !== 'retain') {
    const state = `ShardMove "${name}" is in the phase ${status?.phase ?? 'preflight'}`;
    return no('NothingToReverse', `${state}: one is reversed while it is in "retain"; leave "reverseOf" out`);
  }
  if (spec.operation !== 'move') {
    const message = `ShardMove "${name}" is a ${spec.operation}, which has no reverse: move, merge or split what it made`;
    return no('NothingToReverse', message);
  }
  const same = buckets.length === spec.buckets.length && buckets.every((id) => spec.buckets.includes(id));
  if (spec.group === group && same && status.from === to) return undefined;
  const wanted = `"group: ${spec.group}", "buckets: [${spec.buckets.join(', ')}]" and "to: ${status.from}"`;
  return no('NotTheReverse', `the reverse of ShardMove "${name}" has ${wanted}: write these`);
}
