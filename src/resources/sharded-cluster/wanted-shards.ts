import { desiredShards, type ShardSettings } from './desired-shards.ts';
import type { ShardedCluster } from './model.ts';
import { shardIndex, shardName } from './names.ts';

/** What tells which shards are wanted: a ShardedCluster, parsed or as it was read. */
export interface ShardWish {
  readonly spec: ShardSettings;
  readonly status?: ShardedCluster['status'];
}

/** Names of the shards that are wanted, by index: those that were chosen, and `s0`, `s1`, … before any were. */
export function wantedNames({ spec, status }: ShardWish): readonly string[] {
  return status?.shards?.names ?? firstShards(desiredShards(spec, status));
}

/** `s0`, `s1`, …: the names of so many shards. */
export function firstShards(count: number): string[] {
  return Array.from({ length: count }, (_, index) => shardName(index));
}

/** Home zone of a shard: zones are given to them in turn. */
export function zoneOf({ zones }: { readonly zones: readonly string[] }, name: string): string | undefined {
  return zones[(shardIndex(name) ?? 0) % zones.length];
}
