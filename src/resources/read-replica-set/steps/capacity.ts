import { mebibytes } from '../../../sharding/room.ts';
import { bytesOf } from '../../sharded-cluster/desired/quantity.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import type { Finding, ObservedReplicaShard, PrimaryFacts, SetInput, TakenByOthers } from '../model.ts';

/** Senders and slots that moves of buckets, backups and new members of the shard find free. */
const reserved = 4;
/** A copy that fills its volume would stop at the next row. */
const growth = 1.1;

/** How many members a shard has room for, and why not for more. */
export interface Capacity {
  readonly most: number;
  readonly problem: Finding | undefined;
}

/** What a server can feed at once. */
export type FeedLimits = Pick<PrimaryFacts, 'maxWalSenders' | 'maxReplicationSlots'>;

/**
 * Whether a set that streams from a standby finds one in a shard; else its members stream from the primary. While nobody says who
 * streams, those count that the cluster shall have.
 */
export function hasStandby(
  standbys: readonly string[] | undefined,
  { spec }: Pick<ShardedCluster, 'spec'>,
): boolean {
  return standbys === undefined ? spec.members > 1 : standbys.length > 0;
}

/**
 * What the shard can feed: each member takes a WAL sender of what it streams from, a slot of every server that may be promoted, and a
 * copy of all data.
 */
export function capacityOf(
  { set, observed }: Pick<SetInput, 'set' | 'observed'>,
  shard: ObservedReplicaShard,
): Capacity {
  const { cluster, replicas } = observed;
  if (cluster === undefined || shard.primary.state !== 'present') {
    return { most: Number.POSITIVE_INFINITY, problem: undefined };
  }
  const { bytes, maxWalBytes } = shard.primary.value;
  const storage = bytesOf((set.spec.storage ?? cluster.spec.storage).size);
  const needed = bytes === undefined ? 0 : bytes * growth + maxWalBytes;
  if (bytes !== undefined && needed > storage) {
    return {
      most: 0,
      problem: {
        reason: 'StorageTooSmall',
        message:
          `shard ${shard.name} has ${mebibytes(bytes)} of data, of which a copy needs ${mebibytes(needed)} with room to grow and ` +
          `for WAL (max_wal_size is ${mebibytes(maxWalBytes)}), and a member's volume would have ${mebibytes(storage)}: ` +
          'raise spec.storage.size',
      },
    };
  }
  const limits = shard.primary.value;
  const slots = slotsLeft(limits, cluster, shard.takenByOthers);
  const most = Math.min(slots, membersFed(set.spec.source, cluster, shard, limits));
  if (replicas <= most) return { most, problem: undefined };
  const advice = set.spec.source === 'cascade' || most === slots ? '' : ', or set spec.source to cascade';
  return { most, problem: tooManyMembers(shard.name, { most, replicas }, limits, advice) };
}

/** How many members a primary can feed beside its standbys, members of other sets, and what is kept free. */
export function roomOnPrimary(
  limits: FeedLimits,
  cluster: Pick<ShardedCluster, 'spec'>,
  others: TakenByOthers,
): number {
  return Math.min(sendersLeft(limits, cluster, others), slotsLeft(limits, cluster, others));
}

function sendersLeft(
  { maxWalSenders }: FeedLimits,
  { spec }: Pick<ShardedCluster, 'spec'>,
  { senders }: TakenByOthers,
): number {
  return Math.max(0, maxWalSenders - (spec.members - 1) - reserved - senders);
}

function slotsLeft(
  { maxReplicationSlots }: FeedLimits,
  { spec }: Pick<ShardedCluster, 'spec'>,
  { slots }: TakenByOthers,
): number {
  return Math.max(0, maxReplicationSlots - (spec.members - 1) - reserved - slots);
}

/** Says that a shard has no room for as many members as are wanted, and what to do. */
export function tooManyMembers(
  shard: string,
  { most, replicas }: { readonly most: number; readonly replicas: number },
  limits: FeedLimits,
  advice = '',
): Finding {
  const { maxWalSenders, maxReplicationSlots } = limits;
  return {
    reason: 'TooManyMembers',
    message:
      `shard ${shard} has room for ${most} of ${replicas} members: max_wal_senders is ${maxWalSenders} and ` +
      `max_replication_slots ${maxReplicationSlots}, of which others and moves need some. Lower the number, or raise both ` +
      `parameters in the ShardedCluster${advice}`,
  };
}

/** How many members find a WAL sender. */
function membersFed(
  source: SetInput['set']['spec']['source'],
  cluster: ShardedCluster,
  { standbys, takenByOthers }: ObservedReplicaShard,
  limits: FeedLimits,
): number {
  const onPrimary = sendersLeft(limits, cluster, takenByOthers);
  const onMember = Math.max(0, limits.maxWalSenders - reserved);
  // A standby feeds its followers; the first of a cascade is fed by the primary, and feeds the others.
  if (source === 'standby') return hasStandby(standbys, cluster) ? onMember : onPrimary;
  if (source === 'cascade') return onPrimary < 1 ? 0 : onMember + 1;
  return onPrimary;
}
