import type { Obstacle, Rival } from '../../sharding/move/model.ts';
import type { ShardMove } from './model.ts';

type Facts = Pick<ShardMove, 'metadata' | 'spec' | 'status'>;

/** Phases in which a move works on neither shard: not yet, or no more. */
const idle: ReadonlySet<string> = new Set(['preflight', 'retain', 'done', 'failed', 'cancelled']);

/** Moves keep out of each other's way: a shard takes part in one at a time. Others as they were lately are good enough to wait for. */
export function busyObstacle(mine: Facts, others: readonly Facts[]): Obstacle | undefined {
  const [rival] = rivalsOf(mine, others);
  return rival && { code: 'ShardBusy', message: messageOf(mine, rival), permanent: false };
}

/**
 * The move that keeps this one, which has claimed its shards, from its first step. The others have to be read after the claim. Who
 * may have taken that step is ahead, and of two that have not, the older one.
 */
export function rivalOf(mine: Facts, others: readonly Facts[]): Rival | undefined {
  const rivals = rivalsOf(mine, others);
  const isAhead = (other: Facts) => other.status?.phase !== 'prepare' || isOlder(other, mine);
  const rival = rivals.find(isAhead) ?? rivals[0];
  return rival && { message: messageOf(mine, rival), isAhead: isAhead(rival) };
}

/** Moves that work on a shard of this one, or have claimed it. */
function rivalsOf(mine: Facts, others: readonly Facts[]): Facts[] {
  return others.filter(
    (other) =>
      other.metadata.name !== mine.metadata.name &&
      other.spec.cluster === mine.spec.cluster &&
      !idle.has(other.status?.phase ?? 'preflight') &&
      sharedShard(mine, other) !== undefined,
  );
}

function sharedShard(mine: Facts, other: Facts): string | undefined {
  const shards = [mine.status?.from, mine.spec.to];
  return [other.status?.from, other.spec.to].find((shard) => shards.includes(shard));
}

function messageOf(mine: Facts, other: Facts): string {
  const { metadata, status } = other;
  return `shard ${sharedShard(mine, other)} takes part in ShardMove "${metadata.name}" (${status?.phase})`;
}

/** By the time of creation, which has whole seconds, and at last by the uid. */
function isOlder({ metadata: a }: Facts, { metadata: b }: Facts): boolean {
  const [first = '', second = ''] = [a.creationTimestamp, b.creationTimestamp];
  return first === second ? (a.uid ?? '') < (b.uid ?? '') : first < second;
}
