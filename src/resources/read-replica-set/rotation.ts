import type { Rotation } from './names.ts';
import type { LagLimits } from './settings.ts';

/** How far behind a member is, beyond its delay. */
export interface Lag {
  readonly bytes: number;
  readonly seconds: number;
  /** Whether the seconds cannot be more. */
  readonly exact: boolean;
}

/** What decides on one member. */
export interface RotationMember {
  readonly name: string;
  readonly ready: boolean;
  /** `undefined`: it has never been in rotation. */
  readonly rotation: Rotation | undefined;
  /** Why it is about to be stopped; it then leaves, whatever its lag. */
  readonly drain: string | undefined;
  /** `undefined` while it is not known. */
  readonly lag: Lag | undefined;
}

/** Whom the Service leads to. */
export type ServedBy = 'members' | 'freshest' | 'primary' | 'nobody';

/** What shall become of one member. */
export interface MemberRotation {
  readonly name: string;
  /** `undefined`: it has still never been in rotation. */
  readonly rotation: Rotation | undefined;
  /** Whether its lag keeps it out, or should. */
  readonly isLate: boolean;
  /** Why it is not in rotation, in words that do not change with every second. */
  readonly reason: string | undefined;
  /** The same with its numbers, for an event. */
  readonly detail: string | undefined;
}

/** Which members are in rotation. */
export interface RotationDecision {
  readonly members: readonly MemberRotation[];
  readonly servedBy: ServedBy;
}

/** What is done when every member is late. */
export type WhenNoneFresh = 'keepFreshest' | 'primary' | 'none';

/** Of members that are all late, another takes over only when it is so many times fresher: the Service must not swing. */
const muchFresher = 2;

/**
 * Out at either limit, in under half of both. What is not known stays as it is; a member that is not ready, or that is not known
 * to have caught up, is not taken in. When nobody is left, the policy says who serves.
 */
export function decideRotation(
  members: readonly RotationMember[],
  limits: LagLimits,
  whenNoneFresh: WhenNoneFresh,
): RotationDecision {
  const decided = members.map((member) => decideMember(member, limits));
  if (decided.some((member) => member.rotation === 'in')) return { members: decided, servedBy: 'members' };
  if (whenNoneFresh !== 'keepFreshest') {
    return { members: decided, servedBy: whenNoneFresh === 'primary' ? 'primary' : 'nobody' };
  }
  const freshest = freshestOf(members);
  if (freshest === undefined) return { members: decided, servedBy: 'nobody' };
  return {
    servedBy: 'freshest',
    members: decided.map((member) =>
      member.name === freshest.name
        ? { ...member, rotation: 'in', reason: `late, and the least late of all: ${member.reason}` }
        : member,
    ),
  };
}

function decideMember(member: RotationMember, limits: LagLimits): MemberRotation {
  const { name, ready, rotation, drain, lag } = member;
  if (drain !== undefined) return { name, rotation: 'draining', isLate: false, reason: drain, detail: drain };
  if (!ready) return out(member, 'it is not ready');
  if (lag === undefined) {
    if (rotation === 'in') return { name, rotation, isLate: false, reason: undefined, detail: undefined };
    return out(member, 'its lag is not known yet');
  }
  const late = lateness(lag, limits);
  if (rotation === 'in') {
    return late === undefined
      ? { name, rotation, isLate: false, reason: undefined, detail: 'it is fresh' }
      : out(member, late, describe(lag, limits));
  }
  if (late !== undefined) return out(member, late, describe(lag, limits));
  const isFresh = lag.exact && lag.bytes <= limits.maxBytes / 2 && lag.seconds <= limits.maxSeconds / 2;
  if (isFresh)
    return { name, rotation: 'in', isLate: false, reason: undefined, detail: describe(lag, limits) };
  return out(member, 'it was late, and is not under half of the limits yet', describe(lag, limits));
}

function out({ name, rotation }: RotationMember, reason: string, lag?: string): MemberRotation {
  const isLate = lag !== undefined && rotation !== undefined;
  return {
    name,
    rotation: rotation === undefined ? undefined : 'out',
    isLate,
    reason,
    detail: lag ?? reason,
  };
}

/** Which limits a member is over, without numbers that change by the second. */
function lateness(lag: Lag, { maxBytes, maxSeconds }: LagLimits): string | undefined {
  const over = [
    ...(lag.bytes >= maxBytes ? [`${maxBytes} bytes`] : []),
    ...(lag.seconds >= maxSeconds ? [`${maxSeconds} s`] : []),
  ];
  return over.length === 0 ? undefined : `its lag is at or over the limit of ${over.join(' and of ')}`;
}

function describe(lag: Lag, { maxBytes, maxSeconds }: LagLimits): string {
  const seconds = Math.round(lag.seconds * 10) / 10;
  return `its lag is ${Math.round(lag.bytes)} bytes (limit ${maxBytes}) and ${seconds} s (limit ${maxSeconds})`;
}

/**
 * The least late of those that have been fresh once (others still catch up with their copy); the one that serves stays unless
 * another is much fresher.
 */
function freshestOf(members: readonly RotationMember[]): RotationMember | undefined {
  const able = members.filter(
    ({ ready, drain, rotation, lag }) =>
      ready && drain === undefined && (rotation === 'in' || (rotation !== undefined && lag !== undefined)),
  );
  const byLag = able.toSorted((a, b) => lateBytes(a) - lateBytes(b) || (a.name < b.name ? -1 : 1));
  const best = byLag[0];
  const present = byLag.find((member) => member.rotation === 'in');
  if (best === undefined || present === undefined) return best;
  return lateBytes(present) > muchFresher * lateBytes(best) ? best : present;
}

function lateBytes(member: RotationMember): number {
  return member.lag?.bytes ?? Number.POSITIVE_INFINITY;
}
