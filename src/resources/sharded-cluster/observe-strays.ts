import type { Connection } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { memberSlotName, readMemberSlots } from '../../postgres/member-slots.ts';
import {
  readOldestPosition,
  readPrimaryPosition,
  readStandbyProgress,
} from '../../postgres/replica-stats.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import type { ClusterMemory } from './cluster-memory.ts';
import type { GroupFacts, MemberFacts, ObservedMember, Stray } from './model.ts';
import type { ShardAccess } from './shard-access.ts';
import { leftAlone, type Source, standing, startedAnew, strayOf } from './stand-still.ts';

/** How strays are asked. */
export interface StrayInquiry {
  readonly connections: Connections;
  readonly access: ShardAccess;
  readonly memory: Pick<ClusterMemory, 'strays'>;
  readonly nowMs: number;
}

/**
 * Standbys whose servers are up, and which neither follow the primary nor come on by what they have themselves; and those that
 * were such, were started anew, and do not get beyond starting. Whoever is silent itself stays what it was.
 */
export async function readStrays(
  { connections, access, memory: { strays }, nowMs }: StrayInquiry,
  shard: { readonly name: string; readonly members: readonly ObservedMember[] },
  group: Reading<GroupFacts>,
): Promise<Stray[]> {
  // That nobody can be asked says nothing of what was seen before.
  if (group.state !== 'present') return [];
  const reach = (address: string) => access.asOperator(shard.name, address, 'postgres');
  const primary = leaderAtWork(group.value, shard.members);
  const suspects: ObservedMember[] = [];
  for (const member of shard.members) {
    const before = strays.get(member.name);
    const looks = looksOf(member, group.value.members.get(member.name));
    if (looks === 'well') strays.delete(member.name);
    else if (looks === 'up' && primary !== undefined) suspects.push(member);
    else if (before !== undefined) {
      const still = looks === 'up' ? before : startedAnew(before, nowMs);
      const isOnItsWay = looks === 'starting' && primary !== undefined;
      strays.set(member.name, isOnItsWay ? still : leftAlone(still, nowMs));
      if (isOnItsWay) suspects.push(member);
    }
  }
  if (primary === undefined || suspects.length === 0) return [];
  const answers = await Promise.all(
    suspects.map(async ({ name, ready, pod }) => {
      const address = ready ? pod?.status?.podIP : undefined;
      const slot = memberSlotName(name);
      if (address === undefined) return { name, slot, at: undefined };
      const progress = await readingOf(() => connections.use(reach(address), readStandbyProgress));
      return { name, slot, at: progress.state === 'present' ? progress.value : undefined };
    }),
  );
  // It is asked after them, since it goes on meanwhile: whatever they have and it has not, it never had.
  const reading = await readingOf(() => connections.use(reach(primary.address), readSource));
  const source = reading.state === 'present' ? reading.value : undefined;
  return answers.map((answer) => {
    const look = { ...answer, primary: primary.name, source, nowMs };
    const still = standing(strays.get(answer.name), look);
    strays.set(answer.name, still);
    return strayOf(still, look);
  });
}

/** Patroni's words for a standby that follows, and for one that is being copied. */
const wellStates: ReadonlySet<string> = new Set(['streaming', 'in archive recovery', 'creating replica']);

function looksOf(
  { ready }: ObservedMember,
  facts: MemberFacts | undefined,
): 'well' | 'up' | 'starting' | 'away' {
  if (facts === undefined) return 'away';
  if (facts.role === 'primary' || wellStates.has(facts.state)) return 'well';
  if (facts.state === 'running' && ready) return 'up';
  return facts.state === 'starting' ? 'starting' : 'away';
}

async function readSource(connection: Connection): Promise<Source | undefined> {
  const { inRecovery, position, standbys } = await readPrimaryPosition(connection);
  if (inRecovery) return undefined;
  const slots = await readMemberSlots(connection);
  return {
    position,
    standbys,
    oldest: await readOldestPosition(connection),
    idleMs: new Map(slots.map(({ name, idleMs }) => [name, idleMs])),
  };
}

/** The primary, if there is one that serves and nobody has told Patroni to keep still. */
function leaderAtWork(
  { leader, members, paused }: GroupFacts,
  pods: readonly ObservedMember[],
): { readonly name: string; readonly address: string } | undefined {
  if (paused || leader === undefined || members.get(leader)?.state !== 'running') return undefined;
  const address = pods.find(({ name, ready }) => name === leader && ready)?.pod?.status?.podIP;
  return address === undefined ? undefined : { name: leader, address };
}
