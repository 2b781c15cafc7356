import { resourceTypeOf } from '../../sharded-cluster/kinds.ts';
import { podProblem } from '../../sharded-cluster/kubernetes.ts';
import type { Finding, ObservedReplica, ObservedReplicaShard, SetAction } from '../model.ts';
import { isDrained } from './size.ts';

/** What is done next so that members are as their template and parameters say. */
export interface RenewalDecision {
  readonly drains: ReadonlyMap<string, string>;
  readonly actions: readonly SetAction[];
  readonly progress: readonly Finding[];
  readonly failures: readonly Finding[];
}

const nothing: RenewalDecision = { drains: new Map(), actions: [], progress: [], failures: [] };

/**
 * One member of the set at a time, those first that do not serve: it leaves the Service, unless that would be empty then, is
 * renewed when its queries have ended or the grace has, and is ready again before the next.
 */
export function decideRenewal(shards: readonly ObservedReplicaShard[], graceMs: number): RenewalDecision {
  for (const shard of shards) {
    const stuck = shard.members.find((member) => !member.ready && member.outdated && isStuck(member));
    if (stuck !== undefined) return renew(shard, stuck, graceMs);
  }
  const members = shards.flatMap((shard) => shard.members.map((member) => ({ shard, member })));
  const needing = members.filter(({ member }) => whyRenewed(member) !== undefined);
  if (needing.length === 0) return nothing;
  const next =
    needing.find(({ member }) => member.rotation !== 'in') ??
    needing.find(({ shard, member }) => othersServe(shard, member));
  const unwell = members.find(({ member }) => !member.ready && member.name !== next?.member.name);
  if (unwell !== undefined) {
    const problem = unwell.member.pod === undefined ? undefined : podProblem(unwell.member.pod);
    const finding = {
      reason: problem?.reason ?? 'MemberNotReady',
      message: `member ${unwell.member.name}: ${problem?.message ?? 'it is not ready yet, and others wait for it'}`,
    };
    return problem === undefined ? { ...nothing, progress: [finding] } : { ...nothing, failures: [finding] };
  }
  if (next === undefined) {
    const names = needing.map(({ member }) => member.name).join(', ');
    const message = `members are renewed when another is in rotation: ${names}`;
    return { ...nothing, progress: [{ reason: 'WaitingForFreshMember', message }] };
  }
  return renew(next.shard, next.member, graceMs);
}

/** Whether the Service is not empty without it; a member that is alone in its shard has nobody to wait for. */
function othersServe({ members }: ObservedReplicaShard, { name }: ObservedReplica): boolean {
  const others = members.filter((other) => other.name !== name);
  return others.length === 0 || others.some(({ ready, rotation }) => ready && rotation === 'in');
}

function renew(shard: ObservedReplicaShard, member: ObservedReplica, graceMs: number): RenewalDecision {
  const why = whyRenewed(member) ?? '';
  const progress = [{ reason: 'RollingOut', message: `member ${member.name} is renewed: ${why}` }];
  const drains = new Map([[member.name, `it is about to be renewed: ${why}`]]);
  if (!isDrained(member) || member.pod === undefined || member.pod.metadata.deletionTimestamp !== undefined) {
    return { ...nothing, drains, progress };
  }
  if (member.work.has('restart')) return { ...nothing, drains, progress };
  // A pod that is deleted lets its queries end by itself; a server that is restarted does not.
  if (member.outdated || member.losesVolume) {
    const { pod } = member;
    const uid = pod.metadata.uid ?? '';
    const action: SetAction = {
      kind: 'delete',
      type: resourceTypeOf(pod),
      object: pod,
      uid,
      evidence: why,
    };
    return { ...nothing, drains, progress, actions: [action] };
  }
  if (isBusy(member) && member.drainingMs < graceMs) return { ...nothing, drains, progress };
  return {
    ...nothing,
    drains,
    progress,
    actions: [{ kind: 'restart', shard: shard.name, member: member.name }],
  };
}

function isBusy({ stats }: ObservedReplica): boolean {
  return stats.state === 'present' && stats.value.busy > 0;
}

function whyRenewed(member: ObservedReplica): string | undefined {
  if (member.losesVolume) return 'its volume claim was deleted';
  if (member.outdated) return 'its template is outdated';
  const needsRestart = member.pendingRestart === true && member.ready;
  return needsRestart || member.work.get('restart')?.state === 'running'
    ? 'a parameter needs a restart'
    : undefined;
}

function isStuck({ pod }: ObservedReplica): boolean {
  return pod !== undefined && pod.metadata.deletionTimestamp === undefined && podProblem(pod) !== undefined;
}
