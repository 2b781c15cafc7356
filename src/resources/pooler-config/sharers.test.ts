import { describe, expect, it } from 'vitest';
import { sharersOf, type Target } from './sharers.ts';

const writes = {};
const splits = { alsoReads: ['a'] };
const reads = { role: 'ro' as const };
const ofSet = (readReplicaSet: string) => ({ role: 'ro' as const, readReplicaSet });

describe('PoolerConfigs that share servers', () => {
  const cases: readonly (readonly [string, Target, readonly Target[], readonly string[], number])[] = [
    ['one alone', writes, [writes], [], 1],
    ['one that the cache does not have yet', writes, [], [], 1],
    ['two that write', writes, [writes, { role: 'rw' as const }], [], 2],
    ['those that read standbys, apart from those that write', writes, [writes, reads, reads], [], 1],
    ['two that read standbys', reads, [writes, reads, reads], [], 2],
    ['those that read different sets', ofSet('a'), [ofSet('a'), ofSet('b'), writes], [], 1],
    ['one that writes, with a set that the primary stands in for', writes, [writes, ofSet('a')], ['a'], 2],
    ['one that reads such a set, with those that write', ofSet('a'), [writes, writes, ofSet('a')], ['a'], 3],
    ['two such sets meet on the primary', ofSet('a'), [ofSet('a'), ofSet('b')], ['a', 'b'], 2],
    ['one that splits reads, with one that writes', splits, [writes, splits], [], 2],
    [
      'one that reads a set, with those that split reads to it',
      ofSet('a'),
      [ofSet('a'), splits, splits],
      [],
      3,
    ],
    ['a set with more readers than the primary has', ofSet('a'), [ofSet('a'), ofSet('a'), writes], [], 2],
  ];

  it.each(cases)('%s', (_, target, all, falling, count) => {
    expect(sharersOf(target, all, (set) => falling.includes(set))).toBe(count);
  });
});
