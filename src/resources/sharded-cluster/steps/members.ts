import type { ObservedShard } from '../model.ts';
import { isStreaming, switchoverCandidate } from './rollout.ts';

/** How many members a shard's StatefulSet shall have now, on the way to the number wanted. */
export type MembersDecision =
  | { readonly kind: 'replicas'; readonly replicas: number }
  | {
      readonly kind: 'switchover';
      readonly leader: string;
      readonly candidate: string;
      readonly replicas: number;
    }
  | { readonly kind: 'wait'; readonly reason: string; readonly message: string; readonly replicas: number };

/**
 * Members are added all at once, and taken away one at a time from the last ordinal: never the leader (it is switched over
 * first), and never while a member that stays is not streaming, so that the synchronous set stays as large as promised.
 */
export function decideMembers(shard: ObservedShard, wanted: number): MembersDecision {
  const current = shard.statefulSet?.spec?.replicas ?? runningMembers(shard);
  if (current === undefined || current <= wanted) return { kind: 'replicas', replicas: wanted };
  const hold = (reason: string, message: string): MembersDecision => ({
    kind: 'wait',
    reason,
    message,
    replicas: current,
  });
  if (!shard.settled) return hold('StatefulSetUnsettled', 'the StatefulSet controller has not caught up yet');
  if (shard.group.state !== 'present')
    return hold('PatroniUnknown', 'no member has said yet how the others are');
  const group = shard.group.value;
  if (shard.members.some((member) => member.ordinal >= current && member.pod !== undefined)) {
    return hold('MemberStopping', 'a member that was taken away is still stopping');
  }
  const leader = shard.members.find((member) => member.name === group.leader);
  if (leader === undefined) return hold('NoPrimary', 'the shard has no primary at the moment');
  const last = current - 1;
  if (leader.ordinal === last) {
    const candidate = switchoverCandidate(shard, group, (member) => member.ordinal < wanted);
    if (candidate === undefined)
      return hold('NoCandidate', 'no member that stays is close enough to the primary to take over');
    return { kind: 'switchover', leader: leader.name, candidate: candidate.name, replicas: current };
  }
  const unwell = shard.members.find((member) => member.ordinal < wanted && !member.ready);
  if (unwell !== undefined) return hold('MemberNotReady', `member ${unwell.name} stays, and is not ready`);
  const apart = shard.members.find(({ name, ordinal }) => {
    const facts = group.members.get(name);
    return ordinal < wanted && name !== group.leader && (facts === undefined || !isStreaming(facts));
  });
  if (apart !== undefined)
    return hold('MemberNotStreaming', `member ${apart.name} stays, and does not stream`);
  return { kind: 'replicas', replicas: last };
}

/** Members that wait for their StatefulSet to be made again: it adopts them, and must not begin by taking some away. */
function runningMembers({ members }: ObservedShard): number | undefined {
  const running = members.filter(
    ({ pod }) => pod !== undefined && pod.metadata.deletionTimestamp === undefined,
  );
  return running.length === 0 ? undefined : Math.max(...running.map(({ ordinal }) => ordinal)) + 1;
}
