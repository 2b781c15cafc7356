import { expect, test } from 'vitest';
import type { ObservedShard, PlanInput, Stray } from '../model.ts';
import { type MemberSketch, sketchShard } from '../test-support/sketch-shard.ts';
import { keptStrays, strays } from './strays.ts';

type Durability = 'quorum' | 'asynchronous';

const still: Stray = {
  name: 'shop-s0-1',
  forMs: 120_000,
  isRestarted: false,
  isLost: false,
  isApart: true,
};
const lost: Stray = { ...still, name: 'shop-s0-2', forMs: 30_000, isLost: true };
const stuck: Stray = { ...still, forMs: 900_000, isRestarted: true };

const apart: MemberSketch = { ready: false, facts: { state: 'starting', sync: false } };

function shardWith(found: readonly Stray[], members: readonly MemberSketch[]): ObservedShard {
  return { ...sketchShard([{}, ...members]), strays: found };
}

/** What is done about standbys of a shard of three, and which are kept. */
function done(
  found: readonly Stray[],
  { second = {}, third = {}, durability = 'quorum' }: Situation = {},
): string[] {
  const shard = shardWith(found, [second, third]);
  const spec = { members: 3, durability } as PlanInput['cluster']['spec'];
  const result = strays({ cluster: { spec }, observed: { shards: [shard] } } as unknown as PlanInput);
  expect(result.kind).toBe('continue');
  const actions = (result.actions ?? []).flatMap((action) =>
    'member' in action ? [`${action.kind} ${action.member}`] : [],
  );
  return [...actions, ...keptStrays(spec, shard).map(({ name }) => `keep ${name}`)];
}

interface Situation {
  readonly second?: MemberSketch;
  readonly third?: MemberSketch;
  readonly durability?: Durability;
}

test.each<[string, Stray, string[]]>([
  ['that stands still for a moment is left alone', { ...still, forMs: 60_000 }, []],
  ['that stands still is restarted', still, ['restart shop-s0-1']],
  ['that needs WAL which is gone is copied anew', lost, ['reinitialize shop-s0-2']],
])('a standby %s', (_, stray, expected) => {
  expect(done([stray])).toEqual(expected);
});

test('one is brought back at a time, and none while another member is away', () => {
  expect(done([still, lost])).toEqual(['reinitialize shop-s0-2']);
  expect(done([{ ...lost, name: 'shop-s0-1' }, lost])).toEqual(['reinitialize shop-s0-1']);
  expect(done([still], { third: { ready: false } })).toEqual([]);
  expect(done([stuck], { second: apart, third: { ready: false } })).toEqual([]);
});

test.each<[string, Partial<Stray>, Situation, string[]]>([
  ['is copied anew', {}, {}, ['reinitialize shop-s0-1']],
  ['is left its time', { forMs: 899_000 }, {}, []],
  [
    'is kept while it may have more than the primary, or does not reach it',
    { isApart: false },
    {},
    ['keep shop-s0-1'],
  ],
  ['is kept where commits wait for nobody', {}, { durability: 'asynchronous' }, ['keep shop-s0-1']],
  [
    'is kept while it is one of those that commits wait for',
    {},
    { second: { ...apart, facts: { sync: true } } },
    ['keep shop-s0-1'],
  ],
  ['is kept while commits wait for no other', {}, { third: { facts: { sync: false } } }, ['keep shop-s0-1']],
])('a standby that stands still after a restart, too, %s', (_, change, situation, expected) => {
  expect(done([{ ...stuck, ...change }], { second: apart, ...situation })).toEqual(expected);
});

test('the event says on what the copy was judged', () => {
  const evidenceOf = (stray: Stray) => {
    const spec = { members: 3, durability: 'quorum' };
    const shard = shardWith([stray], [apart, {}]);
    const { actions = [] } = strays({ cluster: { spec }, observed: { shards: [shard] } } as never);
    return actions.flatMap((action) => (action.kind === 'reinitialize' ? [action.evidence] : []));
  };
  expect(evidenceOf({ ...lost, name: 'shop-s0-1' })).toEqual([
    'its primary no longer has the WAL that it needs next',
  ]);
  expect(evidenceOf(stuck)).toEqual([
    'it reaches its primary, which has gone on, and does not follow it, nor did it after a restart',
  ]);
});
