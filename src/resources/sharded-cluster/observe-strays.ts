import type { Connections } from '../../postgres/connections.ts';
import { readOldestPosition, readStandbyProgress } from '../../postgres/replica-stats.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import type { ClusterMemory } from './cluster-memory.ts';
import type { GroupFacts, ObservedMember, Stray } from './model.ts';
import type { ShardAccess } from './shard-access.ts';

/** How strays are asked. */
export interface StrayInquiry {
  readonly connections: Connections;
  readonly access: ShardAccess;
  readonly memory: Pick<ClusterMemory, 'strays'>;
  readonly nowMs: number;
}

/** A standby that has not come on for so long may have lost its place. */
export const silentMs = 30_000;

/**
 * Standbys whose servers are up, and which neither follow the primary nor come on by what they have themselves. Whoever is
 * silent itself stays what it was.
 */
export async function readStrays(
  { connections, access, memory, nowMs }: StrayInquiry,
  shard: { readonly name: string; readonly members: readonly ObservedMember[] },
  group: Reading<GroupFacts>,
): Promise<Stray[]> {
  const primary = group.state === 'present' ? leaderAtWork(group.value, shard.members) : undefined;
  const reach = (address: string) => access.asOperator(shard.name, address, 'postgres');
  const found = shard.members.map(async ({ name, pod, ready }): Promise<Stray[]> => {
    const facts = group.state === 'present' ? group.value.members.get(name) : undefined;
    const address = pod?.status?.podIP;
    const isSuspect = ready && facts?.role === 'standby' && facts.state === 'running';
    if (primary === undefined || !isSuspect || address === undefined) {
      // That nobody can be asked says nothing of what was seen before.
      if (group.state === 'present') memory.strays.delete(name);
      return [];
    }
    const progress = await readingOf(() => connections.use(reach(address), readStandbyProgress));
    const before = memory.strays.get(name);
    const at = progress.state === 'present' ? progress.value : undefined;
    const isSame = at?.replayed === before?.replayed && at?.startedMs === before?.startedMs;
    const isStill = at === undefined || (at.waitsForWal && isSame);
    const { replayed, startedMs } = at ?? before ?? {};
    const since = before !== undefined && isStill ? before.since : nowMs;
    memory.strays.set(name, { replayed, startedMs, since });
    const forMs = nowMs - since;
    if (forMs < silentMs || at === undefined) return [{ name, forMs, isLost: false }];
    const oldest = await readingOf(() => connections.use(reach(primary), readOldestPosition));
    return [{ name, forMs, isLost: oldest.state === 'present' && at.received < oldest.value }];
  });
  return (await Promise.all(found)).flat();
}

/** Address of the primary, if there is one that serves and nobody has told Patroni to keep still. */
function leaderAtWork(
  { leader, members, paused }: GroupFacts,
  pods: readonly ObservedMember[],
): string | undefined {
  if (paused || leader === undefined || members.get(leader)?.state !== 'running') return undefined;
  return pods.find(({ name, ready }) => name === leader && ready)?.pod?.status?.podIP;
}
