import { desiredShards, type ShardSettings } from './desired-shards.ts';
import type { ShardedCluster } from './model.ts';
import { shardName } from './names.ts';

/** What tells which shards are wanted: a ShardedCluster, parsed or as it was read. */
export interface ShardWish {
  readonly spec: ShardSettings;
  readonly status?: ShardedCluster['status'];
}

/** Names of the shards that are wanted, by index. */
export function wantedNames({ spec, status }: ShardWish): readonly string[] {
  return firstShards(desiredShards(spec, status));
}

/** `s0`, `s1`, …: the names of so many shards. */
export function firstShards(count: number): string[] {
  return Array.from({ length: count }, (_, index) => shardName(index));
}
