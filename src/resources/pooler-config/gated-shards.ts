/** What the gate and the controller of one process tell each other. */
export interface GatedShards {
  /** Instances and databases that are held at this moment: `pod uid/database`. Nobody else lets them go. */
  readonly held: Set<string>;
  /**
   * Shards whose primary has changed behind the gate, by PoolerConfig: `namespace/PoolerConfig/shard`. Every connection was closed for it, so none
   * to the old primary is left.
   */
  readonly switched: Set<string>;
}

/** Nothing is held yet. */
export function noGatedShards(): GatedShards {
  return { held: new Set(), switched: new Set() };
}

/** The shard as it is noted in `switched`. */
export function shardKey(shard: { namespace: string; pooler: string; shard: string }): string {
  return `${shard.namespace}/${shard.pooler}/${shard.shard}`;
}
