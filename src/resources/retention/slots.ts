import { podOrdinal, scope } from '../sharded-cluster/names.ts';

/** The member that a slot was made for. */
export interface SlotMember {
  readonly pod: string;
  readonly statefulSet: string;
  readonly ordinal: number;
}

/**
 * The member of a shard, or of a read replica set in it, whose slot this is; `undefined` for any other slot. Patroni writes
 * a member's name with `_` for `-`, and names of ours have no `_`.
 */
export function memberOfSlot(slot: string, cluster: string, shard: string): SlotMember | undefined {
  const pod = slot.replaceAll('_', '-');
  const ordinal = podOrdinal(cluster, shard, pod);
  if (ordinal !== undefined) return { pod, statefulSet: scope(cluster, shard), ordinal };
  const [, statefulSet, digits] = /^(.+)-(0|[1-9][0-9]?)$/.exec(pod) ?? [];
  if (statefulSet === undefined || !statefulSet.endsWith(`-${shard}-replicas`)) return undefined;
  return { pod, statefulSet, ordinal: Number(digits) };
}
