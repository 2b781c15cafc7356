import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { type Group, layoutOf } from '../layout.ts';
import { gatheredGroup } from '../map.ts';
import type { Conversion, Phase } from './model.ts';
import { type ConversionPlan, type ConversionView, planConversion, type ShardTables } from './plan.ts';

const [group] = layoutOf([
  { name: 'orders', strategy: 'hash', key: 'customer', group: 'customer', buckets: 4 },
  { name: 'lines', strategy: 'hash', key: 'customer', group: 'customer' },
]).groups;
if (group === undefined) throw new Error('no group');
const names = ['orders', 'lines'];

function shard(name: string, rest: Partial<ShardTables> = {}): ShardTables {
  return {
    name,
    plain: names,
    partitioned: [],
    withRows: [],
    hasMarkers: false,
    conversion: undefined,
    ...rest,
  };
}

function converting(phase: Phase, layout: Group = group as Group): Conversion {
  return { group: 'customer', phase, layout, epoch: null, switchedAtMs: 1_000, fenceMs: null, tables: [] };
}

function view(rest: Partial<ConversionView> = {}): ConversionView {
  return {
    name: 'customer',
    wanted: group,
    shards: [shard('s0', { withRows: names }), shard('s1')],
    map: { cluster: 'shop', epoch: 1, groups: [] },
    retentionMs: 1_000,
    nowMs: 1_500,
    ...rest,
  };
}

/** Enough of a plan to be compared. */
function short(plan: ConversionPlan): string {
  switch (plan.kind) {
    case 'step':
      return `${plan.step} ${plan.shard}`;
    case 'replace':
      return `${plan.to} ${plan.shards.join(',')}`;
    case 'wait':
    case 'refuse':
      return plan.reason;
    default:
      return plan.kind;
  }
}

const partitioned = { plain: [], partitioned: names };
const owned: ShardMapSpec = { cluster: 'shop', epoch: 2, groups: [gatheredGroup(group, 's0', 2)] };
const holder = (phase: Phase, layout?: Group) => [
  shard('s0', { withRows: names, conversion: converting(phase, layout) }),
  shard('s1'),
];

describe('the plan of a conversion', () => {
  it.each([
    ['begins where the rows are', {}, 'stage s0'],
    ['begins on the first shard when there are none', { shards: [shard('s0'), shard('s1')] }, 'stage s0'],
    [
      'begins on another that has rows',
      { shards: [shard('s0'), shard('s1', { withRows: ['lines'] })] },
      'stage s1',
    ],
    ['waits for a silent shard', { shards: undefined }, 'PrimaryUnknown'],
    ['waits for the map', { map: undefined }, 'MapUnknown'],
    [
      'is empty when all is partitioned',
      { shards: [shard('s0', partitioned), shard('s1', partitioned)] },
      'none',
    ],
    ['is empty when nothing is wanted', { wanted: undefined }, 'none'],
    [
      'refuses rows on two shards',
      { shards: [shard('s0', { withRows: names }), shard('s1', { withRows: ['orders'] })] },
      'RowsOnTwoShards',
    ],
    [
      'refuses what is half partitioned',
      { shards: [shard('s0', { withRows: names, plain: ['orders'], partitioned: ['lines'] })] },
      'SomePartitioned',
    ],
    [
      'makes empty tables of a new shard partitioned',
      { map: owned, shards: [shard('s0', partitioned), shard('s1')] },
      'partitioned s1',
    ],
    ['refuses rows for a group that has buckets', { map: owned }, 'GroupHasBuckets'],
    ['goes on', { shards: holder('copying') }, 'copy s0'],
    ['makes other shards ready before the switch', { shards: holder('verified') }, 'partitioned s1'],
    ['is withdrawn', { shards: holder('verified'), wanted: undefined }, 'tidy s0'],
    [
      'is withdrawn when the layout changes',
      { shards: holder('built', { ...group, buckets: 8 }) },
      'tidy s0',
    ],
    ['keeps the way back open', { shards: holder('settled'), map: owned }, 'follow s0'],
    ['closes the way back', { shards: holder('settled'), map: owned, nowMs: 2_000 }, 'tidy s0'],
    [
      'keeps the way back open until the map has the group',
      { shards: holder('settled'), nowMs: 2_000 },
      'MapPending',
    ],
    [
      'waits for the map when another shard has been converted',
      { shards: [shard('s0', { ...partitioned, hasMarkers: true }), shard('s1')] },
      'MapPending',
    ],
    ['goes back', { shards: holder('settled'), map: owned, wanted: undefined }, 'switch-back s0'],
    ['ends the switch before it goes back', { shards: holder('switched'), wanted: undefined }, 'own s0'],
    [
      'does not go back with a part of the group',
      { shards: holder('settled'), wanted: { ...group, tables: group.tables.slice(1) } },
      'PartOfGroup',
    ],
    [
      'takes the group out of the map',
      { shards: holder('reverted'), map: owned, wanted: undefined },
      'forget-group',
    ],
    [
      'makes the others plain again',
      { shards: [holder('reverted')[0], shard('s1', partitioned)] as ShardTables[], wanted: undefined },
      'plain s1',
    ],
  ] as [string, Partial<ConversionView>, string][])('%s', (_, rest, wanted) => {
    expect(short(planConversion(view(rest)))).toBe(wanted);
  });

  /** What a step makes of the world. */
  function after(seen: ConversionView, plan: ConversionPlan): ConversionView {
    const shards = seen.shards ?? [];
    const on = (name: string, rest: (found: ShardTables) => Partial<ShardTables>) =>
      shards.map((found) => (found.name === name ? { ...found, ...rest(found) } : found));
    if (plan.kind === 'forget-group') return { ...seen, map: { cluster: 'shop', epoch: 3, groups: [] } };
    if (plan.kind === 'replace') {
      const to = plan.to === 'plain' ? { plain: names, partitioned: [] } : partitioned;
      return {
        ...seen,
        shards: shards.map((found) => (plan.shards.includes(found.name) ? { ...found, ...to } : found)),
      };
    }
    if (plan.kind !== 'step') return seen;
    const next: Partial<Record<string, Phase>> = {
      stage: 'staged',
      note: 'copying',
      copy: 'copied',
      build: 'built',
      verify: 'verified',
      switch: 'switched',
      own: 'owned',
      settle: 'settled',
      'switch-back': 'reverted',
    };
    const phase = next[plan.step];
    const tables =
      plan.step === 'switch'
        ? partitioned
        : plan.step === 'switch-back'
          ? { plain: names, partitioned: [] }
          : {};
    const moved = on(plan.shard, () => ({
      ...tables,
      ...(phase === undefined
        ? plan.step === 'tidy'
          ? { conversion: undefined }
          : {}
        : { conversion: converting(phase, plan.group) }),
    }));
    const isAdopted = plan.step === 'settle';
    return { ...seen, shards: moved, ...(isAdopted ? { map: owned } : {}) };
  }

  it('ends, whatever the user changes on the way, with tables that are alike on all shards', () => {
    const wishes = fc.array(fc.record({ at: fc.integer({ min: 0, max: 12 }), isWanted: fc.boolean() }), {
      maxLength: 6,
    });
    fc.assert(
      fc.property(wishes, fc.integer({ min: 0, max: 2 }), (changes, others) => {
        const rest = Array.from({ length: others }, (_, index) => shard(`s${index + 1}`));
        let world = view({ shards: [shard('s0', { withRows: names }), ...rest] });
        for (let turn = 0; turn < 80; turn += 1) {
          const change = changes.find(({ at }) => at === turn);
          if (change !== undefined) world = { ...world, wanted: change.isWanted ? group : undefined };
          world = after(world, planConversion(world));
          const conversions = (world.shards ?? []).filter(({ conversion }) => conversion !== undefined);
          expect(conversions.length).toBeLessThanOrEqual(1);
        }
        const last = short(planConversion(world));
        expect(['none', 'follow s0']).toContain(last);
        const kinds = new Set((world.shards ?? []).map(({ plain }) => plain.length));
        expect([...kinds]).toEqual([world.wanted === undefined ? 2 : 0]);
      }),
    );
  });
});
