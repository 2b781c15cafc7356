import type { Finding, ObservedReplica, ObservedReplicaShard, SetInput } from '../model.ts';
import { type Capacity, capacityOf } from './capacity.ts';
import { roomAmongClaims } from './claims.ts';
import { stuckBy } from './problem.ts';

/** After a member left the Service, connections that were on their way to it arrive for so long. */
const settleMs = 2_000;

/** How many members a shard's StatefulSet shall have now. */
export interface SizeDecision {
  /** `undefined`: there shall be no StatefulSet (yet). */
  readonly members: number | undefined;
  /** By name: members that are about to be stopped, and why. */
  readonly drains: ReadonlyMap<string, string>;
  readonly progress: readonly Finding[];
  readonly failures: readonly Finding[];
}

/** Whether nothing new reaches a member any more. */
export function isDrained(member: ObservedReplica): boolean {
  return (
    !member.ready ||
    (member.rotation !== 'in' && (member.rotation === undefined || member.drainingMs >= settleMs))
  );
}

/** How many members the StatefulSet of a shard asks for. */
export function sizeOf({ statefulSet }: ObservedReplicaShard): number {
  return statefulSet?.spec?.replicas ?? 0;
}

/**
 * Members that are not whole yet, over all shards: those that shall be there and are not ready, or have been told to copy
 * themselves anew.
 */
export function copiesOf(shards: readonly ObservedReplicaShard[]): readonly ObservedReplica[] {
  return shards.flatMap((shard) =>
    shard.members.filter((member) => isMeant(shard, member) && isCopy(member)),
  );
}

/** How many of them are being copied now: one that cannot start would keep all others away for ever. */
export function copiesUnderWay(shards: readonly ObservedReplicaShard[], now: Date): number {
  return copiesOf(shards).filter((member) => stuckBy(member, now) === undefined).length;
}

/** Whether it is being copied, or about to be. */
export function isCopy({ ready, work }: ObservedReplica): boolean {
  const recopy = work.get('reinitialize');
  return !ready || (recopy !== undefined && recopy.state !== 'failed');
}

/** Decides on all shards together, since copies are counted over all. Members that are being renewed are about to leave, too. */
export function decideSizes(
  input: SetInput,
  renewed: ReadonlyMap<string, string>,
  capacityIn: (shard: ObservedReplicaShard) => Capacity = (shard) => capacityOf(input, shard),
): ReadonlyMap<string, SizeDecision> {
  const { set, observed, now } = input;
  let budget = set.spec.maxConcurrentClones - copiesUnderWay(observed.shards, now);
  const decisions = new Map<string, SizeDecision>();
  for (const shard of observed.shards) {
    const capacity = least(capacityIn(shard), roomAmongClaims(input, shard));
    const present = sizeOf(shard);
    // What is there stays: a limit keeps new members away, and takes none.
    const wanted = shard.isWanted ? Math.min(observed.replicas, Math.max(present, capacity.most)) : 0;
    const failures = shard.isWanted && capacity.problem !== undefined ? [capacity.problem] : [];
    if (wanted < present) {
      decisions.set(shard.name, { ...shrink(shard, present, wanted, renewed), failures });
      continue;
    }
    const waitsFor = wanted > present ? whatCopyWaitsFor(input, shard) : undefined;
    if (waitsFor !== undefined) {
      const members = shard.statefulSet === undefined ? undefined : present;
      decisions.set(shard.name, { members, drains: new Map(), progress: [waitsFor], failures });
      continue;
    }
    const added = Math.max(0, Math.min(wanted - present, budget));
    budget -= added;
    const missing = wanted - present - added;
    const progress = [
      ...(added > 0
        ? [{ reason: 'AddingMembers', message: `shard ${shard.name}: members are being copied` }]
        : []),
      ...(missing > 0
        ? [
            {
              reason: 'WaitingForCopies',
              message: `shard ${shard.name}: ${missing} members wait for the ${set.spec.maxConcurrentClones} that are copied at a time`,
            },
          ]
        : []),
    ];
    decisions.set(shard.name, { members: present + added, drains: new Map(), progress, failures });
  }
  return decisions;
}

function least(one: Capacity, other: Capacity): Capacity {
  return one.most <= other.most ? one : other;
}

function whatCopyWaitsFor({ observed }: SetInput, shard: ObservedReplicaShard): Finding | undefined {
  if (shard.primary.state !== 'present')
    return {
      reason: 'NoPrimary',
      message: `shard ${shard.name} has no primary that answers, so nothing is copied`,
    };
  if (shard.primary.value.bytes === undefined)
    return { reason: 'CountingData', message: `shard ${shard.name} has not said how large it is` };
  if (observed.parameterProblems === undefined)
    return { reason: 'CheckingParameters', message: 'a server of the cluster judges spec.parameters' };
  if (!shard.isCertified) {
    return {
      reason: 'WaitingForCertificate',
      message: `shard ${shard.name} gets a certificate with the name of the set's Service`,
    };
  }
  return undefined;
}

/** The last ordinals go, once nothing new reaches them; not while those that stay would leave the Service empty. */
function shrink(
  shard: ObservedReplicaShard,
  present: number,
  wanted: number,
  renewed: ReadonlyMap<string, string>,
): Pick<SizeDecision, 'members' | 'drains' | 'progress'> {
  const leaving = shard.members.filter((member) => member.ordinal >= wanted && member.ordinal < present);
  const staying = shard.members.filter((member) => member.ordinal < wanted);
  const isServing = (member: ObservedReplica) => member.ready && member.rotation === 'in';
  // One whose WAL is gone is about to be copied anew.
  const goesOn = (member: ObservedReplica) =>
    isServing(member) && !member.isLost && !isCopy(member) && !renewed.has(member.name);
  if (staying.length > 0 && leaving.some(isServing) && !staying.some(goesOn)) {
    return {
      members: present,
      drains: new Map(),
      progress: [
        {
          reason: 'WaitingForFreshMember',
          message: `shard ${shard.name}: members are taken away when one that stays is in rotation`,
        },
      ],
    };
  }
  const why = shard.isWanted
    ? `${wanted} members are wanted, so it is about to be stopped`
    : 'the set is no longer in this shard, so it is about to be stopped';
  return {
    members: leaving.every(isDrained) ? wanted : present,
    drains: new Map(leaving.map(({ name }) => [name, why])),
    progress: [{ reason: 'RemovingMembers', message: `shard ${shard.name}: members are being taken away` }],
  };
}

function isMeant(shard: ObservedReplicaShard, member: ObservedReplica): boolean {
  return member.ordinal < sizeOf(shard);
}
