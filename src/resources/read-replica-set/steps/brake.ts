import type { ObservedReplicaShard } from '../model.ts';
import type { LagLimits } from '../settings.ts';
import { copiesUnderWay } from './size.ts';

/**
 * Why the number of members may not be changed now; `undefined` when nothing forbids it. A copy raises the lag of all, and lag
 * makes the members that are left busier, which asks for more copies.
 */
export function brakeOf(
  shards: readonly ObservedReplicaShard[],
  current: number,
  limits: LagLimits,
): string | undefined {
  if (shards.some(({ primary }) => primary.state !== 'present')) return 'a primary does not answer';
  if (copiesUnderWay(shards) > 0) return 'members are being copied';
  const members = shards.flatMap((shard) => shard.members);
  if (members.some(({ rotation }) => rotation === 'draining')) return 'members are about to be stopped';
  if (shards.some(({ statefulSet }) => (statefulSet?.spec?.replicas ?? 0) !== current))
    return 'members are still missing, or too many';
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
