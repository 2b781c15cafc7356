import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shardMapSpec } from '../api/v1alpha1/shard-map.ts';
import type { Table } from '../api/v1alpha1/table.ts';
import { layoutOf, type Shard } from './layout.ts';
import { boundKey, bucketsOf, initialMap, ownerCounts, reconcileMap } from './map.ts';
import { mirrorRow } from './mirror.ts';
import { markerName } from './names.ts';
import { rebuildFromMarkers, type ShardAnswer } from './rebuild.ts';

const zones = ['a', 'b', 'c'];
const shardsOf = (count: number): Shard[] =>
  Array.from({ length: count }, (_, index) => ({ name: `s${index}`, zone: zones[index % zones.length] }));

const hash = (name: string) =>
  fc.integer({ min: 1, max: 64 }).map((buckets): Table => ({ name, strategy: 'hash', key: 'k', buckets }));
const range = (name: string) =>
  fc.record({ count: fc.integer({ min: 1, max: 12 }), defaultBucket: fc.boolean() }).map(
    ({ count, defaultBucket }): Table => ({
      name,
      strategy: 'range',
      key: 'k',
      defaultBucket,
      bounds: Array.from({ length: count }, (_, n) => ({
        ...(n === 0 ? {} : { from: `${n}` }),
        to: `${n + 1}`,
        ...(n === 1 ? { shard: 's0' } : {}),
      })),
    }),
  );
const geographic = (name: string) =>
  fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 6 }).map(
    (counts): Table => ({
      name,
      strategy: 'geographic',
      key: 'k',
      hashKey: 'h',
      regions: counts.map((buckets, n) => ({
        name: `r${n}`,
        values: [`v${n}`],
        buckets,
        ...(n % 2 === 0 ? { zones: ['a'] } : { shards: ['s0'] }),
      })),
    }),
  );
const directory = (name: string) =>
  fc.record({ buckets: fc.integer({ min: 1, max: 16 }), tenants: fc.integer({ min: 0, max: 5 }) }).map(
    ({ buckets, tenants }): Table => ({
      name,
      strategy: 'directory',
      key: 'k',
      buckets,
      tenants: Array.from({ length: tenants }, (_, n) => ({ value: `t${n}` })),
    }),
  );

const worlds = fc.record({
  tables: fc.tuple(hash('h'), range('r'), geographic('g'), directory('d')),
  count: fc.integer({ min: 1, max: 7 }),
});

describe('the first map', () => {
  it('gives every bucket an owner, each bound once, on a shard that may have it', () => {
    fc.assert(
      fc.property(worlds, ({ tables, count }) => {
        const layout = layoutOf(tables);
        expect(layout.problems).toEqual([]);
        const shards = shardsOf(count);
        const map = initialMap('shop', layout, shards);
        expect(shardMapSpec.parse(map)).toEqual(map);
        for (const group of map.groups) {
          expect(group.buckets.map((bucket) => bucket.id)).toEqual(group.buckets.map((_, index) => index));
          expect(new Set(group.buckets.map(boundKey)).size).toBe(group.buckets.length);
        }
        const geography = map.groups.find((group) => group.name === 'g');
        for (const bucket of geography?.buckets ?? []) {
          const shard = shards.find((candidate) => candidate.name === bucket.shard);
          if (Number(bucket.region?.slice(1)) % 2 === 0) expect(shard?.zone).toBe('a');
          else expect(shard?.name).toBe('s0');
        }
      }),
    );
  });

  it('is even to one bucket where nothing is pinned', () => {
    fc.assert(
      fc.property(worlds, ({ tables, count }) => {
        const map = initialMap('shop', layoutOf(tables), shardsOf(count));
        const counts = ownerCounts(map);
        for (const group of ['h', 'd']) {
          const owned = shardsOf(count).map((shard) => counts.get(shard.name)?.[group] ?? 0);
          expect(Math.max(...owned) - Math.min(...owned)).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  it('deals buckets one after the other, and starts where there is least', () => {
    const tables: Table[] = ['x', 'y'].map((name) => ({ name, strategy: 'hash', key: 'k', buckets: 3 }));
    const map = initialMap('shop', layoutOf(tables), shardsOf(2));
    expect(map.groups.map((group) => group.buckets.map((bucket) => bucket.shard))).toEqual([
      ['s0', 's1', 's0'],
      ['s1', 's0', 's1'],
    ]);
    expect(bucketsOf(map, 's1')).toHaveLength(3);
  });
});

describe('reconciling', () => {
  it('changes nothing of a map that fits, also when shards were added', () => {
    fc.assert(
      fc.property(worlds, ({ tables, count }) => {
        const layout = layoutOf(tables);
        const map = initialMap('shop', layout, shardsOf(count));
        const again = reconcileMap(map, layout, shardsOf(count + 2));
        // The very object: nothing may be written.
        expect(again.map).toBe(map);
        expect(again).toMatchObject({ changed: false, problems: [] });
      }),
    );
  });

  it('adds what was added, and keeps every owner and bound', () => {
    fc.assert(
      fc.property(worlds, worlds, ({ tables, count }, other) => {
        const before = initialMap('shop', layoutOf(tables), shardsOf(count));
        const renamed = other.tables.map((table) => ({ ...table, name: `${table.name}2` }));
        const geography = tables[2];
        const wider = {
          ...geography,
          regions: [...(geography.regions ?? []), { name: 'new', values: ['n1', 'n2'], buckets: 2 }],
        };
        const layout = layoutOf([tables[0], tables[1], wider, tables[3], ...renamed]);
        const { map, changed, problems } = reconcileMap(before, layout, shardsOf(count));
        expect({ changed, problems, epoch: map.epoch }).toEqual({ changed: true, problems: [], epoch: 2 });
        expect(map.groups).toHaveLength(8);
        for (const group of before.groups) {
          const now = map.groups.find((candidate) => candidate.name === group.name);
          expect(now?.buckets.slice(0, group.buckets.length)).toEqual(group.buckets);
          for (const bucket of now?.buckets.slice(group.buckets.length) ?? []) expect(bucket.epoch).toBe(2);
        }
        expect(reconcileMap(map, layout, shardsOf(count)).map).toBe(map);
      }),
    );
  });

  const tables: Table[] = [
    { name: 'h', strategy: 'hash', key: 'k', buckets: 8 },
    { name: 'r', strategy: 'range', key: 'k', bounds: [{ to: '1' }, { from: '1', to: '2' }] },
    { name: 'q', strategy: 'range', key: 'k', bounds: [{ to: '1' }], defaultBucket: true },
    { name: 'g', strategy: 'geographic', key: 'k', regions: [{ name: 'a', values: ['x'] }] },
    { name: 'd', strategy: 'directory', key: 'k', buckets: 4, tenants: [{ value: 't' }] },
  ];
  const map = initialMap('shop', layoutOf(tables), shardsOf(2));
  it.each<[string, string, Partial<Table> | undefined, string[]]>([
    ['another number of buckets', 'h', { buckets: 16 }, ['buckets-changed']],
    ['another strategy', 'h', { strategy: 'directory' }, ['strategy-changed']],
    ['a table taken away', 'h', undefined, ['group-removed']],
    ['a changed bound', 'r', { bounds: [{ to: '1' }, { from: '1', to: '3' }] }, ['bound-changed']],
    ['a range taken away', 'r', { bounds: [{ to: '1' }] }, ['bound-changed']],
    ['a range beside a DEFAULT', 'q', { bounds: [{ to: '1' }, { from: '1' }] }, ['behind-default']],
    ['a value more in a region', 'g', { regions: [{ name: 'a', values: ['x', 'y'] }] }, ['bound-changed']],
    ['a tenant more', 'd', { tenants: [{ value: 't' }, { value: 'u' }] }, ['behind-default']],
    ['a tenant less', 'd', { tenants: [] }, ['bound-changed']],
  ])('refuses %s, and changes nothing of the group', (_, name, change, codes) => {
    const changed = tables.flatMap((table) =>
      table.name !== name ? [table] : change === undefined ? [] : [{ ...table, ...change }],
    );
    const result = reconcileMap(map, layoutOf(changed), shardsOf(2));
    expect(result.problems.map((problem) => problem.code)).toEqual(codes);
    expect(result.map).toBe(map);
  });
});

describe('rebuilding', () => {
  const shards = shardsOf(3).map((shard) => shard.name);
  const answersOf = (map: ReturnType<typeof initialMap>) =>
    new Map<string, Exclude<ShardAnswer, 'unknown'>>(
      shards.map((shard) => [
        shard,
        {
          preparedTransactions: 0,
          moving: [],
          markers: bucketsOf(map, shard).map(({ group, bucket }) => ({
            name: markerName(group.name, bucket.id),
            bucket: bucket.id,
            epoch: bucket.epoch,
          })),
          mirror: map.groups.flatMap((group) =>
            group.buckets.map((bucket) => mirrorRow(group, bucket, { host: 'h', port: 5432, dbname: 'app' })),
          ),
        },
      ]),
    );

  it('makes the same map of complete answers', () => {
    fc.assert(
      fc.property(worlds, ({ tables }) => {
        const map = initialMap('shop', layoutOf(tables), shardsOf(3));
        const rebuilt = rebuildFromMarkers('shop', shards, answersOf(map));
        expect(rebuilt).toEqual({
          kind: 'rebuilt',
          map: { ...map, epoch: map.epoch + 1, groups: expect.anything() },
        });
        if (rebuilt.kind !== 'rebuilt') return;
        const sorted = (groups: typeof map.groups) =>
          [...groups].sort((a, b) => a.name.localeCompare(b.name));
        expect(sorted(rebuilt.map.groups)).toEqual(sorted(map.groups));
      }),
    );
  });

  const map = initialMap(
    'shop',
    layoutOf([{ name: 'h', strategy: 'hash', key: 'k', buckets: 6 }]),
    shardsOf(3),
  );
  type Answers = Map<string, ShardAnswer>;
  it.each<[string, (answers: Answers) => void, string]>([
    ['a shard is silent', (answers) => answers.delete('s1'), 'shard-silent'],
    ['an answer is unknown', (answers) => answers.set('s1', 'unknown'), 'shard-silent'],
    ['a transaction is prepared', change('s2', { preparedTransactions: 1 }), 'prepared-transactions'],
    [
      'two shards claim a bucket',
      change('s1', { markers: [{ name: 'h_b0000', bucket: 0, epoch: 1 }] }),
      'two-owners',
    ],
    [
      'a marker is empty',
      change('s1', { markers: [{ name: 'h_b0001', bucket: null, epoch: null }] }),
      'marker-empty',
    ],
    ['a bucket has no marker', change('s1', { markers: [] }), 'no-owner'],
    [
      'a marker is of no bucket',
      change('s1', { markers: [{ name: 'x_b0000', bucket: 0, epoch: 1 }] }),
      'unknown-bucket',
    ],
  ])('refuses when %s', (_, spoil, code) => {
    const answers: Answers = new Map(answersOf(map));
    spoil(answers);
    const rebuilt = rebuildFromMarkers('shop', shards, answers);
    expect(rebuilt.kind).toBe('refused');
    if (rebuilt.kind !== 'refused') return;
    expect(rebuilt.problems.map((problem) => problem.code)).toContain(code);
  });

  function change(shard: string, fields: Partial<Exclude<ShardAnswer, 'unknown'>>) {
    return (answers: Answers) => {
      const answer = answers.get(shard);
      if (answer !== undefined && answer !== 'unknown') answers.set(shard, { ...answer, ...fields });
    };
  }

  it('is not needed where there never was a map', () => {
    const nothing = { markers: [], mirror: [], preparedTransactions: 0, moving: [] };
    const answers = new Map(shards.map((shard) => [shard, nothing]));
    expect(rebuildFromMarkers('shop', shards, answers)).toEqual({ kind: 'empty' });
  });
});
