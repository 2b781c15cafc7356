/** What makes clients of poolers wait while a primary changes on purpose. */
export interface PoolerGate {
  /**
   * Runs `work` while no client of the shard is at work through a pooler, as far as they leave in time. Clients go on when
   * another server serves them than before, or when `work` is done and any server does, and in any case when the poolers'
   * `maxPause` is over. Resolves when `work` is done, too.
   */
  whilePaused(shard: GatedShard, work: () => Promise<void>, signal: AbortSignal): Promise<void>;
}

/** The shard that is about to change, and for whom: those that write, or those that read its standbys. */
export interface GatedShard {
  readonly namespace: string;
  readonly cluster: string;
  readonly shard: string;
  readonly role: 'rw' | 'ro';
  /** Name of the database that clients use. */
  readonly database: string;
  /**
   * Who serves a client that connects through the shard's Service at this moment; `undefined`: nobody has answered within so
   * many milliseconds.
   */
  servedBy(patienceMs: number): Promise<Server | undefined>;
}

/** A server as whoever is connected to it sees it. */
export interface Server {
  /** Tells one that was started anew from what it was before. */
  readonly id: string;
  /** Where it is, if that was told. */
  readonly address?: string;
}
