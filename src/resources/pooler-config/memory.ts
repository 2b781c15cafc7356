import type { ServerLimits } from './sizing.ts';

/** What a primary says of itself, and of sessions of the poolers. */
export interface TargetFacts extends ServerLimits {
  readonly listeners: readonly string[];
}

/** What is remembered of one PoolerConfig between passes; all of it can be found out again. */
export interface PoolerMemory {
  /** By cluster and shard: what its server said last, which holds while it is away, and which server that was. */
  readonly targets: Map<
    string,
    { readonly facts: TargetFacts; readonly atMs: number; readonly server: string | undefined }
  >;
  /** By cluster and shard: who serves, and since when it has been seen. */
  readonly served: Map<string, { readonly by: string | undefined; readonly sinceMs: number }>;
}

/** An empty memory. */
export function emptyMemory(): PoolerMemory {
  return { targets: new Map(), served: new Map() };
}
