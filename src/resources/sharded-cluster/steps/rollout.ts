import { podProblem } from '../kubernetes.ts';
import type { GroupFacts, MemberFacts, ObservedMember, ObservedShard } from '../model.ts';

/** The one next thing to do for a shard whose members are not all as the template and configuration want them. */
export type RolloutDecision =
  | { readonly kind: 'none' }
  | { readonly kind: 'wait'; readonly reason: string; readonly message: string }
  | { readonly kind: 'stuck'; readonly reason: string; readonly message: string }
  | { readonly kind: 'replace'; readonly member: ObservedMember; readonly why: string }
  | { readonly kind: 'restart'; readonly member: string; readonly why: string }
  | {
      readonly kind: 'switchover';
      readonly leader: string;
      readonly candidate: string;
      readonly why: string;
    };

/** A standby this far behind (bytes) is not a candidate for a planned switchover. */
const candidateLagBytes = 16 * 1024 * 1024;

/**
 * PostgreSQL refuses to run a standby with less of these than its primary has; so when they shrink, the primary goes first.
 * https://www.postgresql.org/docs/17/hot-standby.html#HOT-STANDBY-ADMIN
 */
const standbyNeedsAtLeast: ReadonlySet<string> = new Set([
  'max_connections',
  'max_prepared_transactions',
  'max_locks_per_transaction',
  'max_wal_senders',
  'max_worker_processes',
]);

/**
 * Standbys first, the last ordinal first; then a planned switchover to a member that is done; then the old primary. One
 * member at a time, and only while all others are well; a member that is broken and outdated is replaced at once.
 */
export function decideRollout(shard: ObservedShard): RolloutDecision {
  if (!shard.settled) return wait('StatefulSetUnsettled', 'the StatefulSet controller has not caught up yet');
  const group = shard.group.state === 'present' ? shard.group.value : undefined;
  const broken = shard.members.find((member) => isBrokenAndOutdated(member, shard, group));
  if (broken !== undefined) {
    return { kind: 'replace', member: broken, why: `it is not ready and ${replacedWhy(broken)}` };
  }
  const needing = shard.members.filter((member) => needsWork(member, group));
  if (needing.length === 0) return { kind: 'none' };
  const unwell = firstUnwell(shard, group);
  if (unwell !== undefined) return unwell;
  if (group === undefined) return wait('PatroniUnknown', 'no member has said yet how the others are');
  if (group.paused) return { kind: 'stuck', reason: 'PatroniPaused', message: pausedMessage(shard.name) };
  return nextMember(shard, group);
}

/**
 * Whether a new pod can only be better. While nobody says who leads, a pod that is merely not ready may be the primary behind
 * a network that fails: then it has to be one that Kubernetes cannot run. One that loses its volume may hold the last copy, unless
 * another member leads.
 */
function isBrokenAndOutdated(
  member: ObservedMember,
  shard: ObservedShard,
  group: GroupFacts | undefined,
): boolean {
  const { pod } = member;
  if (pod === undefined || pod.metadata.deletionTimestamp !== undefined) return false;
  if (!isRenewedByPod(member) || member.ready || group?.leader === member.name) return false;
  if (member.losesVolume) return shard.members.some((other) => other.name === group?.leader && other.ready);
  return group !== undefined || podProblem(pod) !== undefined;
}

/** The standby that a planned switchover should promote; `acceptable` narrows the choice. */
export function switchoverCandidate(
  shard: ObservedShard,
  group: GroupFacts,
  acceptable: (member: ObservedMember) => boolean,
): ObservedMember | undefined {
  const anySync = [...group.members.values()].some((facts) => facts.sync);
  const candidates = shard.members.filter((member) => {
    const facts = group.members.get(member.name);
    if (facts === undefined || member.name === group.leader) return false;
    return (
      acceptable(member) &&
      member.ready &&
      isStreaming(facts) &&
      (facts.lagBytes ?? Number.POSITIVE_INFINITY) <= candidateLagBytes &&
      (!anySync || facts.sync)
    );
  });
  return candidates.sort((a, b) => lagOf(group, a) - lagOf(group, b) || a.ordinal - b.ordinal)[0];
}

function nextMember(shard: ObservedShard, group: GroupFacts): RolloutDecision {
  const primary = shard.members.find((member) => member.name === group.leader);
  if (primary === undefined) return wait('NoPrimary', 'the shard has no primary at the moment');
  const primaryFacts = group.members.get(primary.name);
  if (primaryFacts !== undefined && shrinks(primaryFacts)) {
    return {
      kind: 'restart',
      member: primary.name,
      why: 'a standby cannot have less of a parameter than its primary, so the primary takes the lower value first',
    };
  }
  const standbys = shard.members.filter((member) => member !== primary).sort((a, b) => b.ordinal - a.ordinal);
  for (const standby of standbys) {
    if (isRenewedByPod(standby)) return { kind: 'replace', member: standby, why: replacedWhy(standby) };
    const facts = group.members.get(standby.name);
    if (facts?.pendingRestart === true)
      return { kind: 'restart', member: standby.name, why: pendingWhy(facts) };
  }
  if (standbys.length === 0) {
    if (primary.losesVolume)
      return { kind: 'stuck', reason: 'OnlyCopy', message: onlyCopyMessage(primary.name) };
    if (primary.outdated) return { kind: 'replace', member: primary, why: replacedWhy(primary) };
    return { kind: 'restart', member: primary.name, why: pendingWhy(primaryFacts) };
  }
  const apart = standbys.find(({ name }) => isAboutToCount(group, group.members.get(name)));
  if (apart !== undefined) return wait('StandbyJoining', `commits do not wait for ${apart.name} yet`);
  const candidate = switchoverCandidate(shard, group, (member) => !isRenewedByPod(member));
  if (candidate === undefined)
    return wait('NoCandidate', 'no standby is close enough to the primary to take over');
  return {
    kind: 'switchover',
    leader: primary.name,
    candidate: candidate.name,
    why: 'the primary is the last member to be renewed',
  };
}

/** What keeps the next step from being safe: a member that is not well and whose replacement is not what helps it. */
function firstUnwell(shard: ObservedShard, group: GroupFacts | undefined): RolloutDecision | undefined {
  for (const member of shard.members) {
    if (member.pod === undefined || member.pod.metadata.deletionTimestamp !== undefined) {
      return wait('MemberRestarting', `member ${member.name} is being made anew`);
    }
    if (!member.ready) {
      const problem = podProblem(member.pod);
      if (problem === undefined) return wait('MemberNotReady', `member ${member.name} is not ready yet`);
      return { kind: 'stuck', reason: problem.reason, message: `member ${member.name}: ${problem.message}` };
    }
    const facts = group?.members.get(member.name);
    if (group === undefined || member.name === group.leader) continue;
    if (facts === undefined || !isStreaming(facts)) {
      return wait('MemberNotStreaming', `member ${member.name} does not stream from the primary yet`);
    }
  }
  return undefined;
}

function needsWork(member: ObservedMember, group: GroupFacts | undefined): boolean {
  return isRenewedByPod(member) || group?.members.get(member.name)?.pendingRestart === true;
}

/** Whether it takes a new pod to make the member as it shall be. */
function isRenewedByPod(member: ObservedMember): boolean {
  return member.outdated || member.losesVolume;
}

function replacedWhy(member: ObservedMember): string {
  return member.losesVolume ? 'its volume claim was deleted' : 'its template is outdated';
}

/** Whether a standby follows its primary. (Patroni's `running` is a server that is up, and does not.) */
export function isStreaming(facts: MemberFacts): boolean {
  return facts.state === 'streaming' || facts.state === 'in archive recovery';
}

/**
 * Whether Patroni will soon let this standby's word count for commits. If only the candidate's did at a switchover, those that
 * follow it would wait until the old primary is up again; so both do.
 */
function isAboutToCount(group: GroupFacts, facts: MemberFacts | undefined): boolean {
  const { state, sync, lagBytes = Number.POSITIVE_INFINITY } = facts ?? {};
  return group.quorum && state === 'streaming' && sync === false && lagBytes <= candidateLagBytes;
}

function shrinks(facts: MemberFacts): boolean {
  return facts.pendingParameters.some(
    ({ name, from, to }) => standbyNeedsAtLeast.has(name) && Number(to) < Number(from),
  );
}

function pendingWhy(facts: MemberFacts | undefined): string {
  const names = facts?.pendingParameters.map((parameter) => parameter.name) ?? [];
  return names.length === 0
    ? 'a parameter needs a restart'
    : `parameters need a restart: ${names.join(', ')}`;
}

function lagOf(group: GroupFacts, member: ObservedMember): number {
  return group.members.get(member.name)?.lagBytes ?? Number.POSITIVE_INFINITY;
}

function pausedMessage(shard: string): string {
  return `Patroni is paused on shard ${shard}, so nothing is restarted: resume it with "patronictl resume"`;
}

function onlyCopyMessage(member: string): string {
  return (
    `the volume claim of ${member} was deleted, and it holds the only copy of the shard: its pod must stay. ` +
    'Raise spec.members, so that it is copied, before the pod goes'
  );
}

function wait(reason: string, message: string): RolloutDecision {
  return { kind: 'wait', reason, message };
}
