import type { Obstacle } from '../../sharding/move/model.ts';
import type { ShardMove } from './model.ts';

/** Phases in which a move works on neither shard: not yet, or no more. */
const idle: ReadonlySet<string> = new Set(['preflight', 'retain', 'done', 'failed', 'cancelled']);

/** Moves keep out of each other's way: a shard takes part in one at a time. */
export function busyObstacle(
  { metadata, spec, status }: Pick<ShardMove, 'metadata' | 'spec' | 'status'>,
  others: readonly Pick<ShardMove, 'metadata' | 'spec' | 'status'>[],
): Obstacle | undefined {
  const shards = [status?.from, spec.to];
  for (const other of others) {
    const { phase, from } = other.status ?? {};
    if (other.metadata.name === metadata.name || phase === undefined || idle.has(phase)) continue;
    const shared = [from, other.spec.to].find((shard) => shards.includes(shard));
    if (shared === undefined) continue;
    const message = `shard ${shared} takes part in ShardMove "${other.metadata.name}" (${phase})`;
    return { code: 'ShardBusy', message, permanent: false };
  }
  return undefined;
}
