import type { ClusterMember, ClusterView, PatroniApi } from '../../postgres/patroni-api.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import { isPodReady } from './kubernetes.ts';
import type { GroupFacts, MemberFacts, ObservedMember, PendingParameter } from './model.ts';
import { roleLabel } from './names.ts';

/** What Patroni says of a shard: of its members, and of its dynamic configuration. */
export interface GroupReading {
  readonly group: Reading<GroupFacts>;
  readonly config: Reading<Readonly<Record<string, unknown>>>;
}

const leaders: ReadonlySet<string> = new Set(['leader', 'primary', 'standby_leader']);
const synchronous: ReadonlySet<string> = new Set(['sync_standby', 'quorum_standby']);

/**
 * Asks the member that is labelled primary first, then the others; the first answer counts, since each knows what the
 * DCS says of all. `absent` while there is nobody to ask, `unknown` when nobody answers.
 */
export async function readGroup(
  members: readonly ObservedMember[],
  patroni: (address: string) => Pick<PatroniApi, 'cluster' | 'config'>,
): Promise<GroupReading> {
  const addresses = [...members]
    .filter(
      (member) =>
        member.pod?.status?.podIP !== undefined && member.pod.metadata.deletionTimestamp === undefined,
    )
    .sort((a, b) => rank(a) - rank(b))
    .map((member) => member.pod?.status?.podIP ?? '');
  if (addresses.length === 0) return { group: { state: 'absent' }, config: { state: 'absent' } };
  let error = new Error('no member answers');
  for (const address of addresses) {
    const api = patroni(address);
    const view = await readingOf(() => api.cluster());
    if (view.state !== 'present') {
      if (view.state === 'unknown') error = view.error;
      continue;
    }
    const config = view.value.members.length === 0 ? undefined : await readingOf(() => api.config());
    return {
      group: { state: 'present', value: groupFacts(withoutReplicas(view.value)) },
      config: config ?? { state: 'absent' },
    };
  }
  return { group: { state: 'unknown', error }, config: { state: 'unknown', error } };
}

function rank(member: ObservedMember): number {
  if (member.pod?.metadata.labels?.[roleLabel] === 'primary') return 0;
  return member.pod !== undefined && isPodReady(member.pod) ? 1 : 2;
}

/** Members of read replica sets are nobody's standby: they are never promoted, and another controller looks after them. */
function withoutReplicas(view: ClusterView): ClusterView {
  return { ...view, members: view.members.filter((member) => member.tags?.nofailover !== true) };
}

/** Patroni's answer in our terms. */
export function groupFacts(view: ClusterView): GroupFacts {
  return {
    leader: view.members.find((member) => leaders.has(member.role))?.name,
    paused: view.pause === true,
    quorum: view.members.some((member) => member.role === 'quorum_standby'),
    members: new Map(view.members.map((member) => [member.name, memberFacts(member)])),
  };
}

function memberFacts(member: ClusterMember): MemberFacts {
  return {
    role: leaders.has(member.role) ? 'primary' : 'standby',
    state: member.state,
    timeline: member.timeline,
    lagBytes: typeof member.lag === 'number' ? member.lag : undefined,
    sync: synchronous.has(member.role),
    pendingRestart: member.pending_restart === true,
    pendingParameters: pendingParameters(member.pending_restart_reason),
  };
}

function pendingParameters(reasons: ClusterMember['pending_restart_reason']): PendingParameter[] {
  return Object.entries(reasons ?? {}).map(([name, { old_value: from, new_value: to }]) => ({
    name,
    from: String(from),
    to: String(to),
  }));
}
