/** What makes clients of poolers wait while a primary changes on purpose. */
export interface PoolerGate {
  /**
   * Runs `work` while no client of the shard is at work through a pooler, as far as they leave in time. Clients go on when
   * `work` is done and `isServing` says that the shard takes writes, and in any case when the poolers' `maxPause` is over.
   */
  whilePaused(shard: GatedShard, work: () => Promise<void>, signal: AbortSignal): Promise<void>;
}

/** The shard that is about to change. */
export interface GatedShard {
  readonly namespace: string;
  readonly cluster: string;
  readonly shard: string;
  /** Name of the database that clients use. */
  readonly database: string;
  /** Whether a client that connects through the shard's Service would find the new primary. */
  isServing(): Promise<boolean>;
}
