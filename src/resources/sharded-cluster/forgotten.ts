import type { ClusterMemory } from './cluster-memory.ts';
import type { ObservedShard } from './model.ts';
import { catalogOf } from './steps/shards.ts';

/** Whoever was sent to a shard has gone there, and was sent on, within this time. */
export const farewellMs = 5_000;

/**
 * Shards whose mirror of the map sends clients to a shard, or might: one that is wanted and does not answer now may do so to
 * clients. One that shall go too, and does not answer, sends nobody anywhere.
 */
export function senders(shards: readonly ObservedShard[], count: number, name: string): string[] {
  return shards
    .filter((other) => {
      const catalog = catalogOf(other);
      return catalog === undefined ? other.index < count : catalog.mirror.some((row) => row.shard === name);
    })
    .map((other) => other.name);
}

/** The shards, each that shall go with how long no other sends clients there. */
export function withFarewells(
  memory: Pick<ClusterMemory, 'forgotten'>,
  shards: readonly ObservedShard[],
  count: number,
  nowMs: number,
): ObservedShard[] {
  return shards.map((shard) => {
    const { name, index } = shard;
    if (index < count || senders(shards, count, name).length > 0) {
      memory.forgotten.delete(name);
      return shard;
    }
    const since = memory.forgotten.get(name) ?? nowMs;
    memory.forgotten.set(name, since);
    return { ...shard, forgottenMs: nowMs - since };
  });
}
