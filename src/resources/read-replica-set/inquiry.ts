import type { Connections } from '../../postgres/connections.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import type { ShardAccess } from '../sharded-cluster/shard-access.ts';
import type { Remembered, SetMemory } from './memory.ts';
import type { ReadReplicaSet } from './model.ts';
import type { Poll } from './poll.ts';

/** What is asked about a set in one shard, and by what means. */
export interface Inquiry {
  readonly set: ReadReplicaSet;
  readonly cluster: ShardedCluster;
  readonly shard: string;
  readonly access: ShardAccess;
  readonly memory: SetMemory;
  readonly poll: Poll;
  readonly connections: Connections;
  readonly monotonicMs: () => number;
}

/** What was found out before, unless it is older than that. */
export function remembered<T>(
  { monotonicMs }: Pick<Inquiry, 'monotonicMs'>,
  known: Remembered<T> | undefined,
  maxAgeMs: number,
): T | undefined {
  return known !== undefined && monotonicMs() - known.atMs < maxAgeMs ? known.value : undefined;
}

/**
 * Asks beside the passes what takes longer than a look at lag, once at a time under a name; it notes the answer itself. One that
 * it cannot make sense of is none: nobody waits for it, and a rejection that nobody handles would end the operator.
 */
export function askBeside(
  { asking }: Pick<SetMemory, 'asking'>,
  name: string,
  ask: () => Promise<void>,
): void {
  if (asking.has(name)) return;
  asking.add(name);
  const end = () => void asking.delete(name);
  ask().then(end, end);
}
