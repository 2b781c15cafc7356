/** What the gate and the controller of one process tell each other. */
export interface GatedShards {
  /** Instances and databases that are held at this moment: `pod uid/database`. Nobody else lets them go. */
  readonly held: Set<string>;
  /**
   * Shards whose primary has changed behind the gate, by PoolerConfig, `namespace/PoolerConfig/shard`, and when, in monotonic
   * milliseconds. Every connection was closed for it, so none to the old primary is left.
   */
  readonly switched: Map<string, number>;
}

/** Nothing is held yet. */
export function noGatedShards(): GatedShards {
  return { held: new Set(), switched: new Map() };
}

/** The shard as it is noted in `switched`. */
export function shardKey(shard: { namespace: string; pooler: string; shard: string }): string {
  return `${shard.namespace}/${shard.pooler}/${shard.shard}`;
}

/**
 * For how long it counts. A new primary stands in the ShardedCluster's status soon; one that was restarted where it is never does
 * so as another, and the next to take over from it is a loss.
 */
const switchedMs = 60_000;

/** Whether the primary has just changed behind the gate. */
export function hasSwitched({ switched }: GatedShards, key: string, monotonicMs: number): boolean {
  const atMs = switched.get(key);
  return atMs !== undefined && monotonicMs - atMs < switchedMs;
}
