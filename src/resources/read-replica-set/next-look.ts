import type { RotationMember } from './rotation.ts';
import type { LagLimits } from './settings.ts';

/** Lag is looked at so often: what is too late is out of the Service within 3 s. Only servers are asked, by SQL. */
export const pollMs = 1_000;
/** While something is under way that ends soon, the next pass is so near. */
export const busyMs = 200;
/** A member whose lag stays just under the limit is not looked at all the time. */
const leastMs = 100;

/**
 * After how long lag is looked at again. It grows no faster than time passes, so a member that reaches the limit before the next
 * look would be due is looked at just then: it leaves at its limit, and not up to a look later.
 */
export function nextLookMs(
  members: readonly Pick<RotationMember, 'rotation' | 'lag'>[],
  { maxSeconds }: LagLimits,
  sinceLookMs: number,
): number {
  const times = members.flatMap(({ rotation, lag }) => {
    const leftMs = (maxSeconds - (lag?.seconds ?? 0)) * 1_000;
    // One that is late and serves nevertheless has nothing to reach.
    return rotation === 'in' && leftMs > 0 ? [Math.max(leastMs, leftMs - sinceLookMs)] : [];
  });
  return Math.min(pollMs, ...times);
}
