import { readingOf } from '../../runtime/reading.ts';
import { type Inquiry, remembered } from './inquiry.ts';
import type { GroupView } from './memory.ts';

/** For how long Patroni's view is good. */
const groupMs = 10_000;

/** What Patroni says of a shard and the members of sets in it, by the first of the addresses that answers. */
export async function readGroup(
  inquiry: Inquiry,
  addresses: readonly string[],
): Promise<GroupView | undefined> {
  const { shard, access, memory, monotonicMs } = inquiry;
  const known = remembered(inquiry, memory.groups.get(shard), groupMs);
  if (known !== undefined) return known;
  for (const address of addresses.slice(0, 2)) {
    const view = await readingOf(() => access.patroni(shard, address, 1_000).cluster());
    if (view.state !== 'present') continue;
    const { members } = view.value;
    const value: GroupView = {
      standbys: members
        .filter(
          ({ state, tags, role }) => state === 'streaming' && tags?.nofailover !== true && role !== 'leader',
        )
        .map(({ name }) => name),
      pendingRestart: new Set(
        members.filter((member) => member.pending_restart === true).map(({ name }) => name),
      ),
    };
    memory.groups.set(shard, { value, atMs: monotonicMs() });
    return value;
  }
  return undefined;
}
