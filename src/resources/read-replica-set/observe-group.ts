import { readingOf } from '../../runtime/reading.ts';
import { askBeside, type Inquiry, remembered } from './inquiry.ts';
import type { GroupView } from './memory.ts';

/** For how long Patroni's view is good, and after how long it is worth nothing. */
const groupMs = 10_000;
const outdatedMs = 30_000;

/**
 * What Patroni says of a shard and the members of sets in it, by the first of the addresses that answers. Answers the last
 * view, while that may still be true: a Patroni that hangs holds up no pass.
 */
export function readGroup(inquiry: Inquiry, addresses: readonly string[]): GroupView | undefined {
  const { shard, memory } = inquiry;
  const known = memory.groups.get(shard);
  if (remembered(inquiry, known, groupMs) === undefined)
    askBeside(memory, `Patroni of ${shard}`, () => ask(inquiry, addresses));
  return remembered(inquiry, known, outdatedMs);
}

async function ask(
  { shard, access, memory, monotonicMs }: Inquiry,
  addresses: readonly string[],
): Promise<void> {
  const before = memory.groups.get(shard);
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
    // What was thrown away meanwhile, since a member was restarted, is not to come back.
    if (memory.groups.get(shard) === before) memory.groups.set(shard, { value, atMs: monotonicMs() });
    return;
  }
}
