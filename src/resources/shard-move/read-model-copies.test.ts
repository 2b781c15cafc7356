import { expect, it } from 'vitest';
import type { ReadReplicaSet } from '../read-replica-set/model.ts';
import type { ShardMove } from './model.ts';
import { readModelThatCopies } from './read-model-copies.ts';

const now = new Date('2026-01-01T12:00:00Z');
const ago = (minutes: number) => new Date(now.getTime() - minutes * 60_000).toISOString();

function move(minutes: number, to = 's1'): ShardMove {
  return { metadata: { name: 'm', creationTimestamp: ago(minutes) }, spec: { to } } as unknown as ShardMove;
}

function set(
  copying: 'True' | 'False',
  since: number,
  shards: readonly string[],
  mode = 'logical',
): ReadReplicaSet {
  return {
    metadata: { name: 'reports' },
    spec: { mode },
    status: {
      conditions: [
        { type: 'Copying', status: copying, lastTransitionTime: ago(since) },
        { type: 'Ready', status: 'True', lastTransitionTime: ago(since) },
      ],
      model: { shards, members: [{}] },
    },
  } as unknown as ReadReplicaSet;
}

it.each<[string, number, ReadReplicaSet, RegExp | undefined]>([
  ['while a read model copies', 1, set('True', 1, []), /copies its tables/],
  ['not for ever', 16, set('True', 1, []), undefined],
  ['not for a copy that takes for ever', 1, set('True', 16, ['s1']), undefined],
  ['until the target is followed', 1, set('False', 1, ['s0']), /does not follow shard s1 yet/],
  ['not when all is followed', 1, set('False', 1, ['s0', 's1']), undefined],
  ['not for a physical set', 1, set('True', 1, [], 'physical'), undefined],
])('puts a move off %s', (_, age, of, expected) => {
  const answer = readModelThatCopies(move(age), [of], now);
  if (expected === undefined) expect(answer).toBeUndefined();
  else expect(answer).toMatch(expected);
});
