import type { Reading } from '../../runtime/reading.ts';
import type { ClusterMemory } from './cluster-memory.ts';
import type { ObservedShard, ShardMapObject } from './model.ts';
import { catalogOf } from './steps/shards.ts';

/** Whoever was sent to a shard has gone there, and was sent on, within this time. */
export const farewellMs = 5_000;

/** What is looked at of a cluster. */
interface Forgetting {
  readonly shards: readonly ObservedShard[];
  readonly map: Reading<ShardMapObject>;
  /** Names of the shards that are wanted. */
  readonly wanted: readonly string[];
}

/**
 * Shards whose mirror of the map sends clients to a shard, or might: one that is wanted and does not answer now may do so to
 * clients. One that shall go too, and does not answer, sends nobody anywhere; and a group that is no more has no clients.
 */
export function senders({ shards, map, wanted }: Forgetting, name: string): string[] {
  const groups = map.state === 'present' ? map.value.spec.groups.map((group) => group.name) : undefined;
  return shards
    .filter((other) => {
      const catalog = catalogOf(other);
      if (catalog === undefined) return wanted.includes(other.name);
      return catalog.mirror.some((row) => row.shard === name && groups?.includes(row.group_name) !== false);
    })
    .map((other) => other.name);
}

/** The shards, each that shall go with how long no other sends clients there. */
export function withFarewells(
  memory: Pick<ClusterMemory, 'forgotten'>,
  cluster: Forgetting,
  nowMs: number,
): ObservedShard[] {
  return cluster.shards.map((shard) => {
    const { name } = shard;
    if (cluster.wanted.includes(name) || senders(cluster, name).length > 0) {
      memory.forgotten.delete(name);
      return shard;
    }
    const since = memory.forgotten.get(name) ?? nowMs;
    memory.forgotten.set(name, since);
    return { ...shard, forgottenMs: nowMs - since };
  });
}
