import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { type ShardedClusterStatus, shardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import { keptShards } from './kept-shards.ts';
import { chooseShards, isRemembered, type ShardChoice, withChoice } from './shard-choice.ts';
import { type SpecSketch, shardedCluster } from './test-support/world.ts';
import { firstShards } from './wanted-shards.ts';

/** What each shard owns: its buckets, and their bytes where they are measured. */
type Owned = Readonly<Record<string, readonly [buckets: number, bytes?: number]>>;

function mapOf(owned: Owned): ShardMapSpec {
  const shards = Object.entries(owned).flatMap(([name, [buckets]]) => Array<string>(buckets).fill(name));
  const buckets = shards.map((shard, id) => ({ id, shard, epoch: 1 }));
  return { cluster: 'shop', epoch: 1, groups: [{ name: 'orders', strategy: 'hash', buckets }] };
}

function statusOf(names: readonly string[], owned: Owned, there = Object.keys(owned)): ShardedClusterStatus {
  const items = there.map((name) => ({ name, ready: true, readyMembers: 3, members: [] }));
  const measured = Object.entries(owned).flatMap(([name, [buckets, bytes]]) =>
    bytes === undefined ? [] : [{ name, buckets, bytes }],
  );
  const shards = { desired: names.length, names: [...names], current: 0, ready: 0, summary: '', items };
  const rest = {
    phase: 'Balanced',
    message: '',
    moves: [],
    totalMoves: 0,
    runningMoves: 0,
    bytes: 0,
    stuck: [],
  };
  const load = { utilisation: 0, utilisationAfter: 0, bucketsAfter: 0, bytesAfter: 0 };
  const rebalance = { ...rest, shards: measured.map((shard) => ({ ...shard, ...load })) };
  return shardedClusterStatus.parse({ shards, map: { epoch: 1, buckets: 1 }, rebalance });
}

const tables: SpecSketch['tables'] = [{ name: 'orders', strategy: 'hash', key: 'id' }];

function choose(
  count: number,
  names: readonly string[],
  owned: Owned,
  { there, spec = {} }: { readonly there?: readonly string[]; readonly spec?: SpecSketch } = {},
): ShardChoice {
  const { spec: parsed } = shardedCluster({ tables, ...spec, shards: { ...spec.shards, count } });
  return chooseShards({ spec: parsed, status: statusOf(names, owned, there?.slice()), map: mapOf(owned) });
}

const three = ['s0', 's1', 's2'];

describe('with fewer shards', () => {
  it.each<[string, Owned, string, string]>([
    [
      'the least bytes',
      { s0: [1, 1], s1: [3, 12e6], s2: [2, 40e6] },
      's1',
      'it owns 12 MB in 3 buckets, the least of those that may go',
    ],
    [
      'the fewest buckets, with as many bytes',
      { s0: [1, 1], s1: [1, 5000], s2: [2, 5000] },
      's1',
      'it owns 5 kB in 1 bucket, the least of those that may go',
    ],
    ['the highest index, all else equal', { s0: [1, 1], s1: [2, 9], s2: [2, 9] }, 's2', 'it owns 9 bytes'],
    ['nothing, whatever others have', { s0: [1, 1], s2: [2] }, 's1', 'it owns no bucket'],
  ])('the one goes that owns %s', (_, owned, name, why) => {
    const choice = choose(2, three, owned);
    expect(choice.names).toEqual(three.filter((other) => other !== name));
    expect(choice.leaving).toMatchObject([{ name, why: expect.stringContaining(why) }]);
    expect(choice.obstacle).toBeUndefined();
  });

  it('several go at once', () => {
    const owned: Owned = { s0: [1, 1], s1: [1, 10], s2: [1, 30], s3: [1, 20] };
    expect(choose(2, firstShards(4), owned).names).toEqual(['s0', 's2']);
  });

  it.each<[string, Owned]>([
    ['has never been measured', { s0: [1, 1], s1: [1, 5], s2: [1] }],
    ['was measured before its first bucket came', { s0: [1, 1], s1: [1, 5], s2: [1, 0] }],
  ])('all stay while one %s', (_, owned) => {
    const { spec } = shardedCluster({ tables, shards: { count: 2 } });
    const status = statusOf(three, owned);
    for (const shard of status.rebalance?.shards ?? []) if (shard.bytes === 0) shard.buckets = 0;
    const choice = chooseShards({ spec, status, map: mapOf(owned) });
    expect(choice.names).toEqual(three);
    expect(choice.obstacle).toMatchObject({
      kind: 'wait',
      reason: 'ChoosingShard',
      message: '1 of s0, s1, s2 shall go, the emptiest: the sizes of s2 are not measured yet',
    });
  });

  it('all stay while the map is lost', () => {
    const { spec } = shardedCluster({ tables, shards: { count: 2 } });
    const choice = chooseShards({ spec, status: statusOf(three, {}), map: undefined });
    expect(choice).toMatchObject({ names: three, obstacle: { kind: 'wait' } });
  });

  it('the one with the fewest buckets goes where nobody measures', () => {
    const owned: Owned = { s0: [1], s1: [1], s2: [2] };
    const choice = choose(2, three, owned, { spec: { rebalance: { mode: 'off' } } });
    expect(choice.leaving).toEqual([
      { name: 's1', why: 'it owns 1 bucket, the fewest of those that may go' },
    ]);
  });

  it('those that the tables name stay, and it is told when they are too many', () => {
    const tenants = ['s1', 's2'].map((shard) => ({ value: shard, shard }));
    const named: SpecSketch = { tables: [{ name: 'orders', strategy: 'directory', key: 'id', tenants }] };
    const choice = choose(1, firstShards(4), { s0: [9, 9], s3: [9, 9] }, { spec: named });
    expect(choice).toMatchObject({
      names: three,
      leaving: [{ name: 's3' }],
      obstacle: {
        kind: 'fail',
        reason: 'ShardsNeeded',
        message: expect.stringMatching(/s1 \(spec.tables names it\).*Raise spec.shards.count to 3/),
      },
    });
  });
});

describe('with more shards', () => {
  it.each<[string, number, readonly string[], readonly string[], Owned, readonly string[]]>([
    ['the lowest free numbers come', 4, ['s0', 's3'], ['s0', 's3'], {}, ['s0', 's1', 's2', 's3']],
    ['one that is on its way out stays', 3, ['s0', 's1'], ['s0', 's1', 's3'], {}, ['s0', 's1', 's3']],
    [
      'of two on their way out, the fuller one stays',
      2,
      ['s0'],
      three,
      { s1: [1, 5], s2: [1, 9] },
      ['s0', 's2'],
    ],
  ])('%s', (_, count, names, there, owned, expected) => {
    expect(choose(count, names, owned, { there })).toEqual({ names: expected, leaving: [] });
  });

  it('those come first that the tables name, or that are in a zone that they need', () => {
    const tenants = [{ value: 'x', shard: 's2' }];
    const named: SpecSketch = { tables: [{ name: 'orders', strategy: 'directory', key: 'id', tenants }] };
    expect(choose(3, ['s0', 's3'], {}, { spec: named }).names).toEqual(['s0', 's2', 's3']);
    const draining: Owned = { s0: [1, 1], s1: [1, 1], s2: [1, 5], s3: [1, 9] };
    expect(choose(3, ['s0', 's1'], draining, { spec: named }).names).toEqual(three);
    const regions = [{ name: 'eu', values: ['de'], zones: ['b'] }];
    const pinned: SpecSketch = {
      shards: { zones: ['a', 'b'] },
      tables: [{ name: 'orders', strategy: 'geographic', key: 'country', regions }],
    };
    expect(choose(2, ['s0'], { s2: [1, 9] }, { spec: pinned }).names).toEqual(['s0', 's1']);
  });

  it('a new cluster has the first', () => {
    const cluster = shardedCluster({ shards: { count: 3 } });
    const choice = chooseShards({ spec: cluster.spec, status: undefined, map: undefined });
    expect(choice).toEqual({ names: three, leaving: [] });
    expect(isRemembered(cluster, choice)).toBe(true);
  });

  it('one that has come back has those that own its buckets', () => {
    const cluster = shardedCluster({ tables, shards: { count: 2 } });
    const choice = chooseShards({ spec: cluster.spec, status: undefined, map: mapOf({ s2: [3] }) });
    expect(choice.names).toEqual(['s0', 's2']);
    expect(isRemembered(cluster, choice)).toBe(false);
    const back = { ...cluster, status: withChoice(undefined, choice) };
    expect(isRemembered(back, choice)).toBe(true);
    expect(back.status.shards).toMatchObject({ desired: 2, names: ['s0', 's2'], items: [] });
  });

  it('one that an operator without a memory of names scaled goes on from those it wanted', () => {
    const { spec } = shardedCluster({ tables, shards: { count: 2 } });
    const status = statusOf(['s0', 's1'], { s0: [1], s1: [1], s2: [1] });
    const { names: _, ...shards } = status.shards ?? {
      desired: 2,
      current: 3,
      ready: 2,
      summary: '',
      items: [],
    };
    const choice = chooseShards({ spec, status: { ...status, shards }, map: mapOf({ s2: [1] }) });
    expect(choice.names).toEqual(['s0', 's1']);
  });
});

describe('whatever is asked for, one after the other', () => {
  const holding = fc.tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 1, max: 5 }));
  const happening = fc.record({
    count: fc.integer({ min: 1, max: 6 }),
    owned: fc.dictionary(fc.constantFrom(...firstShards(7)), holding, { noNullPrototype: true }),
    pinned: fc.uniqueArray(fc.constantFrom(...firstShards(4)), { maxLength: 2 }),
    zones: fc.constantFrom<string[]>([], ['a', 'b']),
  });

  it('the choice is stable, right in number, least in bytes, and leaves what is needed', () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 6 }), (course) => {
        let names: readonly string[] = ['s0', 's1'];
        for (const { count, owned, pinned, zones } of course) {
          const regions = [
            { name: 'eu', values: ['de'], ...(pinned.length === 0 ? { zones: ['b'] } : { shards: pinned }) },
          ];
          const spec: SpecSketch = {
            shards: { zones },
            tables: [{ name: 'orders', strategy: 'geographic', key: 'country', regions }],
          };
          const choice = choose(count, names, owned, { spec });
          const { spec: parsed } = shardedCluster({ ...spec, shards: { zones, count } });
          expect(new Set(choice.names).size).toBe(choice.names.length);
          expect(choose(count, choice.names, owned, { spec }).names).toEqual(choice.names);
          const gone = names.filter((name) => !choice.names.includes(name));
          if (choice.names.length !== count) {
            expect(choice.obstacle).toMatchObject({ kind: 'fail' });
            expect(keptShards(parsed, choice.names).size).toBe(choice.names.length);
          }
          if (count >= names.length) expect(gone).toEqual([]);
          expect(gone.filter((name) => name === 's0' || pinned.includes(name))).toEqual([]);
          const bytes = (name: string) => ((owned[name]?.[0] ?? 0) === 0 ? 0 : (owned[name]?.[1] ?? 0));
          const kept = keptShards(parsed, choice.names);
          const free = choice.names.filter((name) => !kept.has(name)).map(bytes);
          for (const name of gone) expect(bytes(name)).toBeLessThanOrEqual(Math.min(Infinity, ...free));
          names = choice.names;
        }
      }),
    );
  });
});
