import { claimTemplate } from '../../sharded-cluster/names.ts';
import type { Finding, ObservedReplica, ObservedReplicaShard, SetAction, SetInput } from '../model.ts';
import { copiesUnderWay, isCopy, type SizeDecision, sizeOf } from './size.ts';

/** What is done about members that cannot go on from where they are. */
export interface LossDecision {
  readonly actions: readonly SetAction[];
  readonly progress: readonly Finding[];
  readonly failures: readonly Finding[];
}

/**
 * Members whose WAL is gone are copied anew, the lowest ordinals first, as many at a time as may be copied: new members of this
 * pass are counted, and those that have been told to copy themselves and have not stopped serving yet. Where the freshest shall
 * serve when none is fresh, one of them does until another is copied.
 */
export function decideLosses(
  { set, observed: { shards }, now }: SetInput,
  sizes: ReadonlyMap<string, SizeDecision>,
  applyDelayMs: number,
): LossDecision {
  // What a delayed member shows is perhaps what somebody needs back.
  if (applyDelayMs > 0) {
    const lost = shards.flatMap(({ members }) => members.filter(({ isLost }) => isLost));
    return { actions: [], progress: [], failures: lost.map(keptAsItIs) };
  }
  const { maxConcurrentClones, whenNoneFresh } = set.spec;
  const kept = new Set(whenNoneFresh === 'keepFreshest' ? shards.flatMap(lastToServe) : []);
  const added = shards.map((shard) => Math.max(0, (sizes.get(shard.name)?.members ?? 0) - sizeOf(shard)));
  const budget =
    maxConcurrentClones - copiesUnderWay(shards, now) - added.reduce((sum, count) => sum + count, 0);
  const lost = shards
    .flatMap(({ name: shard, members }) => members.filter(isForsaken).map((member) => ({ shard, member })))
    .toSorted((a, b) => a.member.ordinal - b.member.ordinal);
  const first = lost.filter(({ member }) => !kept.has(member)).slice(0, Math.max(0, budget));
  const later = lost.filter((one) => !first.includes(one)).map(({ member }) => member.name);
  const message =
    `members wait to be copied anew, since ${maxConcurrentClones} may be copied at a time, and the last one that serves ` +
    `a shard waits for another: ${later.join(', ')}`;
  return {
    actions: first.map(({ shard, member }) => ({
      kind: 'reinitialize',
      shard,
      member: member.name,
      evidence: evidenceOf(member),
    })),
    progress: later.length === 0 ? [] : [{ reason: 'WaitingForCopies', message }],
    failures: [],
  };
}

function evidenceOf({ streamsFrom }: ObservedReplica): string {
  return `it does not stream, and ${streamsFrom?.name ?? 'its primary'} no longer has the WAL that it needs next`;
}

function keptAsItIs(member: ObservedReplica): Finding {
  const { name } = member;
  const message =
    `member ${name}: ${evidenceOf(member)}. What it shows stays as it is, since somebody may need it back; ` +
    `delete its claim ${claimTemplate}-${name} to copy it anew`;
  return { reason: 'MemberLost', message };
}

/**
 * The one that serves on while no member that has its WAL is in rotation: a lost one that is, or else could be, since one that
 * has never been in rotation cannot serve.
 */
function lastToServe({ members }: ObservedReplicaShard): ObservedReplica[] {
  if (members.length < 2) return [];
  const able = members.filter((member) => !isCopy(member) && member.rotation !== undefined);
  const inRotation = able.filter(({ rotation }) => rotation === 'in');
  const serving = inRotation.length === 0 ? able : inRotation;
  return serving.every(({ isLost }) => isLost) ? serving.slice(-1) : [];
}

/** Lost, and not told of it yet. */
function isForsaken({ isLost, work }: ObservedReplica): boolean {
  return isLost && !work.has('reinitialize');
}
