import { describe, expect, test } from 'vitest';
import type { ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { UnreachableError } from '../../postgres/postgres-error.ts';
import type { StandbyProgress } from '../../postgres/replica-stats.ts';
import { emptyMemory } from './cluster-memory.ts';
import type { ObservedShard, Stray } from './model.ts';
import { readStrays, type StrayInquiry } from './observe-strays.ts';
import type { ShardAccess } from './shard-access.ts';
import type { Source } from './stand-still.ts';
import { type MemberSketch, sketchShard } from './test-support/sketch-shard.ts';

/** What one look finds: where the standby is, in bytes of WAL, or that it is silent; and how Patroni shows it, if not as before. */
interface Sight {
  readonly at: Partial<StandbyProgress> | 'silent';
  readonly sketch?: MemberSketch;
  readonly options?: Parameters<typeof sketchShard>[1];
  readonly source?: Primary | 'silent';
}

/** What the primary has begins at 1,000 and ends at 3,000; the standby's slot was used 10 s ago. */
type Primary = Partial<Omit<Source, 'idleMs'>> & { readonly idleMs?: number | null | 'no slot' };

const stray: MemberSketch = { facts: { state: 'running' } };
const starting: MemberSketch = { ready: false, facts: { state: 'starting' } };
const still = { replayed: 2_000, received: 2_000 };

/** Looks every 15 s at a shard of three, of which the second is no primary; answers what the last look says. */
async function look(sights: readonly (Sight | Sight['at'])[]): Promise<Stray[]> {
  const memory = emptyMemory();
  let found: Stray[] = [];
  for (const [turn, seen] of sights.entries()) {
    const { at, sketch = stray, options = {}, source = {} } = sightOf(seen);
    const use = async ({ host }: ConnectOptions): Promise<unknown> =>
      host === 'member-1' ? { startedMs: 1, waitsForWal: true, ...heard(at) } : sourceOf(heard(source));
    const access = { asOperator: (_: string, host: string) => ({ host }) } as unknown as ShardAccess;
    const connections = { use } as unknown as Connections;
    const inquiry: StrayInquiry = { connections, access, memory, nowMs: turn * 15_000 };
    const shard = withAddresses(sketchShard([{}, sketch, {}], options));
    found = await readStrays(inquiry, shard, shard.group);
  }
  return found;
}

function heard<T>(answer: T | 'silent'): T {
  if (answer === 'silent') throw new UnreachableError('no answer');
  return answer;
}

function sourceOf({ idleMs = 10_000, ...source }: Primary): Source {
  const slots = idleMs === 'no slot' ? [] : [['shop_s0_1', idleMs] as const];
  return { position: 3_000, oldest: 1_000, standbys: {}, idleMs: new Map(slots), ...source };
}

function sightOf(seen: Sight | Sight['at']): Sight {
  return typeof seen === 'object' && 'at' in seen ? seen : { at: seen };
}

function withAddresses(shard: ObservedShard): ObservedShard {
  const members = shard.members.map((member) =>
    member.pod === undefined
      ? member
      : { ...member, pod: { ...member.pod, status: { podIP: `member-${member.ordinal}` } } },
  );
  return { ...shard, members };
}

const thrice = (at: Sight['at']): Sight['at'][] => [at, at, at];
const starts = (source: Sight['source'] = {}): Sight => ({ at: 'silent', sketch: starting, source });
const underAnother = (sight: Sight): Sight => ({ ...sight, options: { leader: 2 } });
const away: Sight = { at: 'silent', sketch: { missing: true, facts: 'unknown' } };
const unused = { idleMs: null };

test('a standby that streams is none', async () => {
  expect(await look([still, { at: still, sketch: {} }])).toEqual([]);
});

test('one that stands still is one, and for how long', async () => {
  expect(await look(thrice(still))).toEqual([
    { name: 'shop-s0-1', forMs: 30_000, isRestarted: false, isLost: false, isApart: false },
  ]);
});

test('one whose WAL is gone is lost, after a while', async () => {
  const behind = { replayed: 500, received: 900 };
  expect(await look([behind, behind])).toMatchObject([{ isLost: false }]);
  expect(await look(thrice(behind))).toMatchObject([{ isLost: true }]);
});

test('one that comes on by what it has itself, or whose replay waits for something else, is left its time', async () => {
  const next = { replayed: 2_500, received: 2_500 };
  expect(await look([...thrice(still), next])).toMatchObject([{ forMs: 0 }]);
  expect(await look([still, still, { ...still, waitsForWal: false }])).toMatchObject([{ forMs: 0 }]);
});

test('one that does not answer stays what it was, and is not given up', async () => {
  const behind = { replayed: 500, received: 900 };
  expect(await look([behind, behind, 'silent'])).toMatchObject([{ forMs: 30_000, isLost: false }]);
});

test.each<[string, MemberSketch, Sight['options']]>([
  ['while nobody leads', stray, { leader: 9 }],
  ['while Patroni is paused', stray, { paused: true }],
  ['that is not ready', { ...stray, ready: false }, {}],
  ['that starts, and did not stand still before', starting, {}],
  ['that is being copied', { ready: false, facts: { state: 'creating replica' } }, {}],
  ['while no member says how the others are', stray, { group: 'unknown' }],
])('a standby %s is none', async (_, sketch, options = {}) => {
  const sight = { at: still, sketch, options };
  expect(await look([sight, sight, sight])).toEqual([]);
});

describe('one that was started anew', () => {
  test('is left its time again', async () => {
    const anew = { ...still, startedMs: 2 };
    expect(await look([...thrice(still), anew])).toMatchObject([{ forMs: 0, isRestarted: true }]);
    expect(await look([...thrice(still), anew, anew])).toMatchObject([{ forMs: 15_000, isRestarted: true }]);
  });

  test('had stood still before: otherwise it has only come', async () => {
    expect(await look([still, { ...still, startedMs: 2 }])).toMatchObject([{ isRestarted: false }]);
    expect(await look([still, starts()])).toMatchObject([{ isRestarted: false }]);
  });

  test('stands still while it starts', async () => {
    expect(await look([...thrice(still), starts()])).toEqual([
      { name: 'shop-s0-1', forMs: 0, isRestarted: true, isLost: false, isApart: true },
    ]);
    expect(await look([...thrice(still), starts(), starts()])).toMatchObject([{ forMs: 15_000 }]);
  });

  test('comes on while it tells its primary of replay', async () => {
    const told = (replayed: number) => starts({ standbys: { 'shop-s0-1': { replayed, received: 2_900 } } });
    expect(await look([...thrice(still), told(1_500), told(1_600), told(1_700)])).toMatchObject([
      { forMs: 0 },
    ]);
    expect(await look([...thrice(still), told(1_500), told(1_500), told(1_500)])).toMatchObject([
      { forMs: 30_000 },
    ]);
  });

  test.each<[string, Sight]>([
    ['its server is stopped', { at: 'silent', sketch: { ready: false, facts: { state: 'stopped' } } }],
    ['its pod is made anew', away],
    ['nobody leads', { ...starts(), options: { leader: 9 } }],
  ])('does not stand still while %s', async (_, meanwhile) => {
    expect(await look([...thrice(still), starts(), meanwhile])).toEqual([]);
    expect(await look([...thrice(still), starts(), meanwhile, starts()])).toMatchObject([
      { forMs: 15_000, isRestarted: true },
    ]);
  });

  test('is forgotten when it has followed', async () => {
    const follows = { at: still, sketch: {} };
    expect(await look([...thrice(still), starts(), follows, starts()])).toEqual([]);
    expect(await look([...thrice(still), starts(), follows, still])).toMatchObject([{ isRestarted: false }]);
  });
});

test.each<[string, (Sight | Sight['at'])[], boolean]>([
  ['the primary has more', [...thrice(still), starts()], true],
  ['the primary has as much', [...thrice(still), starts({ position: 2_000 })], false],
  ['the primary has less', [...thrice(still), starts({ position: 1_900 })], false],
  [
    'the primary had less before',
    [{ at: still, source: { position: 1_900 } }, still, still, starts()],
    false,
  ],
  ['it has the WAL of its primary, too', [...thrice({ replayed: 2_000, received: 3_000 }), starts()], true],
  ['the primary is silent', [...thrice(still), starts('silent')], false],
  ['it has never told where it is', [...thrice('silent'), starts()], false],
  ['it has not reached the primary', [...thrice(still), starts({ idleMs: 60_000 })], false],
  ['it reached it before', [...thrice(still), starts(), starts({ idleMs: 60_000 })], true],
  ['nobody has reached the primary since that started', [...thrice(still), starts(unused)], false],
  ['it reached it before that started', [...thrice(still), starts(), starts(unused)], true],
  ['it has no slot', [...thrice(still), starts({ idleMs: 'no slot' })], false],
  [
    'its slot was made since',
    [...thrice(still), starts({ idleMs: 'no slot' }), starts(), starts({ idleMs: 25_000 })],
    false,
  ],
  [
    'it used a slot that was made since',
    [...thrice(still), starts({ idleMs: 'no slot' }), starts(), starts()],
    true,
  ],
  [
    'it was away for less than it takes to lose a slot',
    [...thrice(still), ...Array(50).fill(away), starts()],
    true,
  ],
  [
    'it was away for so long that its slot was made anew',
    [...thrice(still), ...Array(70).fill(away), starts(), starts({ idleMs: 25_000 })],
    false,
  ],
  ['it is up', [...thrice(still), { ...still, startedMs: 2 }], true],
  ['it was not started anew', thrice(still), false],
])('whether one is apart while %s', async (_, sights, isApart) => {
  expect(await look(sights)).toMatchObject([{ isApart }]);
});

describe('one whose primary is another one now', () => {
  const other = underAnother({ at: { ...still, startedMs: 2 } });

  test('has not reached that, and is left its time', async () => {
    const before = [...thrice(still), starts()];
    expect(await look(before)).toMatchObject([{ isRestarted: true, isApart: true }]);
    expect(await look([...before, other])).toMatchObject([{ forMs: 0, isRestarted: false, isApart: false }]);
    expect(await look([...before, other, other])).toMatchObject([{ forMs: 15_000, isRestarted: false }]);
  });

  test('is started anew for that, too', async () => {
    const anew = underAnother({ at: { ...still, startedMs: 3 } });
    expect(await look([...thrice(still), starts(), other, other, other, anew])).toMatchObject([
      { forMs: 0, isRestarted: true, isApart: true },
    ]);
  });

  test('is not given up if it had more than the one before', async () => {
    const ahead: Sight = { at: still, source: { position: 1_900 } };
    const anew = underAnother({ at: { ...still, startedMs: 3 } });
    expect(await look([ahead, other, other, other, anew])).toMatchObject([
      { isRestarted: true, isApart: false },
    ]);
  });
});

test('one that had more than its primary is not given up when that has no more of its WAL', async () => {
  const ahead = { at: { replayed: 500, received: 900 }, source: { position: 800, oldest: 0 } };
  const gone = { replayed: 500, received: 900 };
  expect(await look([ahead, gone, gone])).toMatchObject([{ isLost: false, isApart: false }]);
});
