import type { DatabaseFacts } from './database-facts.ts';
import { createLongWork, type LongWork } from './long-work.ts';
import type { ReferenceMemory } from './reference-memory.ts';
import type { StandStill } from './stand-still.ts';

/** What is remembered of one cluster between passes; all of it can be found out again. */
export interface ClusterMemory {
  /** By shard: what identifies the set-up that was done last. */
  readonly setUps: Map<string, string>;
  /** By shard: the catalog, and what it is valid for. */
  readonly catalogs: Map<
    string,
    { readonly key: string; readonly atMs: number; readonly facts: DatabaseFacts }
  >;
  /** By shard: since when its claim to initialise it has looked abandoned, on the monotonic clock. */
  readonly claims: Map<string, number>;
  /** By member: since when its server has failed to start. */
  readonly failedStarts: Map<string, number>;
  /** By standby that does not follow its primary: where it stands, and since when. */
  readonly strays: Map<string, StandStill>;
  /** By shard: when its members' certificates were last looked at. */
  readonly certificates: Map<string, number>;
  /** By shard that shall go: since when no mirror of the map names it. */
  readonly forgotten: Map<string, number>;
  /** By shard that joined: how its reference tables compare with those of the others. */
  readonly references: Map<string, ReferenceMemory>;
  readonly longWork: LongWork;
  /** Whether the last pass left nothing to do, so that what is remembered may be used again. */
  isQuiet: boolean;
}

/** An empty memory. */
export function emptyMemory(): ClusterMemory {
  return {
    setUps: new Map(),
    catalogs: new Map(),
    claims: new Map(),
    failedStarts: new Map(),
    strays: new Map(),
    certificates: new Map(),
    forgotten: new Map(),
    references: new Map(),
    longWork: createLongWork(),
    isQuiet: false,
  };
}
