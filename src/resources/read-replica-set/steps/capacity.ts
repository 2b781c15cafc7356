import { bytesOf } from '../../sharded-cluster/desired/quantity.ts';
import type { Finding, ObservedReplicaShard, SetInput } from '../model.ts';

/** Senders and slots that moves of buckets, backups and new members of the shard find free. */
const reserved = 4;

/** How many members a shard has room for, and why not for more. */
export interface Capacity {
  readonly most: number;
  readonly problem: Finding | undefined;
}

/** What the shard can feed: each member takes a WAL sender and a slot of what it streams from, and a copy of all data. */
export function capacityOf(
  { set, observed }: Pick<SetInput, 'set' | 'observed'>,
  shard: ObservedReplicaShard,
): Capacity {
  const { cluster, replicas } = observed;
  if (cluster === undefined || shard.primary.state !== 'present') {
    return { most: Number.POSITIVE_INFINITY, problem: undefined };
  }
  const { maxWalSenders, maxReplicationSlots, bytes } = shard.primary.value;
  const storage = bytesOf((set.spec.storage ?? cluster.spec.storage).size);
  if (bytes !== undefined && bytes > storage) {
    return {
      most: 0,
      problem: {
        reason: 'StorageTooSmall',
        message:
          `shard ${shard.name} has ${megabytes(bytes)} of data, and a member's volume would have ${megabytes(storage)}: ` +
          'raise spec.storage.size',
      },
    };
  }
  const feeds = Math.min(maxWalSenders, maxReplicationSlots);
  const most = Math.max(0, mostMembers(set.spec.source, feeds, cluster.spec.members, shard.othersOnPrimary));
  if (replicas <= most) return { most, problem: undefined };
  return {
    most,
    problem: {
      reason: 'TooManyMembers',
      message:
        `shard ${shard.name} has room for ${most} of ${replicas} members: a server feeds ${feeds} (max_wal_senders is ` +
        `${maxWalSenders}, max_replication_slots ${maxReplicationSlots}), others and moves need some of them. Lower the ` +
        'number, raise both parameters in the ShardedCluster, or set spec.source to cascade',
    },
  };
}

function mostMembers(
  source: SetInput['set']['spec']['source'],
  feeds: number,
  shardMembers: number,
  others: number,
): number {
  const onPrimary = feeds - (shardMembers - 1) - reserved - others;
  if (source === 'primary') return onPrimary;
  // A standby feeds its followers; the first of a cascade is fed by the primary, and feeds the others.
  if (source === 'standby') return feeds - reserved;
  return onPrimary < 1 ? 0 : feeds - reserved + 1;
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)} MiB`;
}
