/** What the gate and the controller of one process tell each other. */
export interface GatedShards {
  /** Instances and databases that are held at this moment: `pod uid/database`. Nobody else lets them go. */
  readonly held: Set<string>;
  /**
   * Shards whose primary has changed behind the gate, by PoolerConfig, `namespace/PoolerConfig/shard`. Every connection was closed
   * for it, so none to the old primary is left.
   */
  readonly switched: Map<string, Switched>;
}

/** What was seen behind the gate. */
export interface Switched {
  /** When, in monotonic milliseconds. */
  readonly atMs: number;
  /** Address of the server that clients were let to, as far as it was told. */
  readonly to: string | undefined;
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

/** Whether the primary with the address is the one that clients were just let to behind the gate, and no later one. */
export function hasSwitched(
  { switched }: GatedShards,
  key: string,
  address: string | undefined,
  monotonicMs: number,
): boolean {
  const seen = switched.get(key);
  if (seen === undefined || monotonicMs - seen.atMs >= switchedMs) return false;
  return seen.to === undefined || seen.to === address;
}
