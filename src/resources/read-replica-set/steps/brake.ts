import type { ObservedReplica, ObservedReplicaShard, SetInput } from '../model.ts';
import { effectiveSettings, type LagLimits } from '../settings.ts';
import { capacityOf } from './capacity.ts';
import { problemOf } from './problem.ts';
import { copiesOf, sizeOf } from './size.ts';

/** Why the number of members may not go up or down now; `undefined` where nothing forbids it. */
export interface Brake {
  readonly up: string | undefined;
  readonly down: string | undefined;
}

/**
 * Decides whether the number of members, `observed.replicas`, may be changed now. A copy raises the lag of all, and lag makes the
 * members that are left busier, which asks for more copies. What nobody can make whole by waiting, a last member that cannot run or
 * for which a shard has no room, holds no step down: that is what takes it away.
 */
export function brakeOf(input: Pick<SetInput, 'set' | 'observed' | 'now'>): Brake {
  const { set, observed, now } = input;
  const { cluster, replicas: current } = observed;
  if (cluster === undefined) return { up: 'there is no such cluster', down: 'there is no such cluster' };
  const shards = observed.shards.filter(({ isWanted }) => isWanted);
  const { limits } = effectiveSettings(set.spec, cluster);
  const isStuck = (member: ObservedReplica) =>
    !member.ready && member.ordinal >= current - 1 && problemOf(member, now) !== undefined;
  const isAnyStuck = shards.some(({ members }) => members.some(isStuck));
  const movable = shards.map((shard) => ({
    ...shard,
    members: shard.members.filter((member) => !isStuck(member)),
  }));
  const isFull = (shard: ObservedReplicaShard) => capacityOf(input, shard).most <= current;
  const canMissOne = (shard: ObservedReplicaShard) =>
    sizeOf(shard) < current && (isAnyStuck || capacityOf(input, shard).most < current);
  const full = shards.find(isFull);
  const unmade = shards.filter((shard) => sizeOf(shard) !== current);
  return {
    up:
      full === undefined
        ? whyNot(shards, unmade, limits, now)
        : `shard ${full.name} has room for ${capacityOf(input, full).most} members`,
    down: whyNot(
      movable,
      unmade.filter((shard) => !canMissOne(shard)),
      limits,
      now,
    ),
  };
}

/** Of shards with these members, some of which may not have as many as are wanted. */
function whyNot(
  shards: readonly ObservedReplicaShard[],
  unmade: readonly ObservedReplicaShard[],
  limits: LagLimits,
  now: Date,
): string | undefined {
  if (shards.some(({ primary }) => primary.state !== 'present')) return 'a primary does not answer';
  const members = shards.flatMap((shard) => shard.members);
  for (const member of members) {
    const problem = member.ready ? undefined : problemOf(member, now);
    if (problem !== undefined) return `member ${member.name} cannot run: ${problem.message}`;
  }
  if (copiesOf(shards).length > 0) return 'members are being copied';
  if (members.some(({ rotation }) => rotation === 'draining')) return 'members are about to be stopped';
  if (unmade.length > 0) return 'members are still missing, or too many';
  // Also the one that serves because all are late.
  const late = members.filter(
    ({ rotation, lag }) =>
      rotation !== 'in' ||
      (lag !== undefined && (lag.bytes >= limits.maxBytes || lag.seconds >= limits.maxSeconds)),
  );
  return late.length === 0
    ? undefined
    : `not all members are fresh: ${late.map(({ name }) => name).join(', ')}`;
}
