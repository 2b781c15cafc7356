import { type Capacity, roomOnPrimary, tooManyMembers } from '../steps/capacity.ts';
import type { ModelInput } from './plan.ts';

/** What the shards can feed: each member of a read model takes a WAL sender and a slot of every primary. */
export function modelCapacity({ set, cluster, world, takenByOthers }: ModelInput): Capacity {
  const rooms = world.sources.flatMap(({ shard, facts }) =>
    facts.state === 'present'
      ? [
          {
            shard,
            limits: facts.value,
            most: roomOnPrimary(facts.value, cluster, takenByOthers.get(shard) ?? { senders: 0, slots: 0 }),
          },
        ]
      : [],
  );
  const [tightest] = rooms.toSorted((a, b) => a.most - b.most);
  if (tightest === undefined) return { most: Number.POSITIVE_INFINITY, problem: undefined };
  const { shard, limits, most } = tightest;
  const { replicas } = set.spec;
  const problem = replicas <= most ? undefined : tooManyMembers(shard, { most, replicas }, limits);
  return { most, problem };
}
