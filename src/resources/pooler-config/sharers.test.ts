import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { ObjectMeta } from '../../runtime/kubernetes-object.ts';
import { leavingOf, sharersOf, type Target } from './sharers.ts';

const writes = {};
const splits = { alsoReads: ['a'] };
const reads = { role: 'ro' as const };
const ofSet = (readReplicaSet: string) => ({ role: 'ro' as const, readReplicaSet });

describe('PoolerConfigs that share servers', () => {
  const cases: readonly (readonly [string, Target, readonly Target[], readonly string[], number])[] = [
    ['one alone', writes, [writes], [], 1],
    ['one that the cache does not have yet', writes, [], [], 1],
    ['two that write', writes, [writes, { role: 'rw' as const }], [], 2],
    ['those that read standbys, of which one may be promoted', writes, [writes, reads, reads], [], 3],
    ['one that writes, with two that read standbys', reads, [writes, reads, reads], [], 3],
    ['two that read standbys, apart from a set', reads, [reads, reads, ofSet('a')], [], 2],
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
    const own = all.findIndex((other) => isDeepStrictEqual(other, target));
    const others = all
      .filter((_other, index) => index !== own)
      .map((other) => ({ ...other, name: 'x', total: 0 }));
    expect(sharersOf(target, others, [], (set) => falling.includes(set)).poolers).toBe(count);
  });

  it('tell what they have, of the servers that others have most of', () => {
    const others = [
      { ...writes, name: 'web', total: 40 },
      { ...reads, name: 'new', total: 0 },
      { ...ofSet('a'), name: 'reports', total: 50 },
      { ...ofSet('b'), name: 'archive', total: 60 },
    ];
    const takenFor = (target: Target, leaving: readonly string[] = []) =>
      sharersOf(target, others, leaving, (set) => set === 'a').taken;
    expect(takenFor(writes)).toEqual({ names: ['web', 'reports'], total: 90 });
    expect(takenFor(ofSet('b'))).toEqual({ names: ['archive'], total: 60 });
    expect(takenFor(ofSet('c'))).toEqual({ names: [], total: 0 });
    const total = Number.POSITIVE_INFINITY;
    expect(takenFor(ofSet('c'), ['gone'])).toEqual({ names: ['gone'], total });
    expect(takenFor(ofSet('b'), ['gone'])).toEqual({ names: ['archive', 'gone'], total });
  });

  it('are not more for one that is gone: nobody gives up anything for those who leave', () => {
    expect(sharersOf(writes, [], ['gone'], () => false).poolers).toBe(1);
  });
});

describe('PoolerConfigs that are gone', () => {
  const pod = (pooler: string, phase: string, metadata: Partial<ObjectMeta> = {}) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${pooler}-pooler-0`,
      uid: pooler,
      labels: { 'herdsman.dev/pooler': pooler },
      ...metadata,
    },
    status: { phase },
  });
  const now = new Date('2026-01-01T12:00:00Z');

  it('have left with the node that their pods were on', () => {
    const after = (deletionTimestamp: string) =>
      leavingOf([pod('old', 'Running', { deletionTimestamp })], [], now);
    expect(after('2026-01-01T11:56:00Z')).toEqual(['old']);
    expect(after('2026-01-01T11:54:00Z')).toEqual([]);
  });

  it('are told from those that have their names by the age of the pods', () => {
    const pods = [pod('web', 'Running', { creationTimestamp: '2026-01-01T11:00:00Z' })];
    expect(leavingOf(pods, [{ name: 'web', madeAt: '2026-01-01T11:30:00Z' }], now)).toEqual(['web']);
    expect(leavingOf(pods, [{ name: 'web', madeAt: '2026-01-01T10:00:00Z' }], now)).toEqual([]);
  });

  it('leave until the last of their pods has ended', () => {
    const pods = [
      pod('web', 'Running'),
      pod('old', 'Running'),
      pod('old', 'Pending'),
      pod('ended', 'Failed'),
    ];
    expect(leavingOf(pods, [{ name: 'web' }], now)).toEqual(['old']);
    expect(leavingOf(pods, [{ name: 'web' }, { name: 'old' }], now)).toEqual([]);
  });
});
