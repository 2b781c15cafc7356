import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BucketBound, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import type { Table } from '../api/v1alpha1/table.ts';
import { nextBucketId } from './bucket-ids.ts';
import { layoutOf } from './layout.ts';
import { initialMap, reconcileMap } from './map.ts';
import { changeMap } from './move/map-change.ts';
import { isolateTenant, mergeBounds, type Reshaped, splitHash, splitRange } from './reshape.ts';

const tables: Table[] = [
  { name: 'h', strategy: 'hash', key: 'k', buckets: 4 },
  {
    name: 'r',
    strategy: 'range',
    key: 'k',
    bounds: [{ to: '10' }, { from: '10', to: '20' }, { from: '20', to: '30' }],
  },
  {
    name: 'g',
    strategy: 'geographic',
    key: 'k',
    hashKey: 'h',
    regions: [
      { name: 'a', values: ['x'], buckets: 2 },
      { name: 'b', values: ['y'] },
    ],
  },
  { name: 'd', strategy: 'directory', key: 'k', buckets: 2, tenants: [{ value: 't' }] },
];
const shards = [{ name: 's0' }, { name: 's1' }];
const layout = layoutOf(tables);

/** One change of the set of buckets, by numbers that choose what. */
function change(map: ShardMapSpec, [which, what, first, second]: readonly number[]): ShardMapSpec {
  const group = map.groups[(which ?? 0) % map.groups.length];
  if (group === undefined) return map;
  const pick = (number = 0) => group.buckets[number % group.buckets.length];
  const chosen = what === 0 ? [pick(first), pick(second)] : [pick(first)];
  const parents = [...new Set(chosen)].flatMap((bucket): BucketBound[] => {
    if (bucket === undefined) return [];
    const { shard: _, epoch: __, ...bound } = bucket;
    return [bound];
  });
  const [parent] = parents;
  if (parent === undefined) return map;
  const { from = '-100', to = '100' } = parent.range ?? {};
  const middle = String(Math.trunc((Number(from) + Number(to)) / 2));
  const reshaped: Reshaped =
    what === 0
      ? mergeBounds(parents)
      : what === 1
        ? isolateTenant(parent, `t${second}`)
        : parent.range === undefined
          ? splitHash(parent, 2 ** (1 + ((second ?? 0) % 2)))
          : splitRange(parent, middle);
  if (reshaped.kind === 'refused') return map;
  const next = nextBucketId(group);
  const children = reshaped.bounds.map((bound, index) => ({ id: next + index, ...bound }));
  // From whatever shard: owners play no part here.
  const level = {
    ...map,
    groups: map.groups.map((other) => ({
      ...other,
      buckets: other.buckets.map((bucket) => ({ ...bucket, shard: 's0' })),
    })),
  };
  const move = { key: 'm.0', group: group.name, parents, children, from: 's0', to: 's1' };
  const announced = changeMap(level, move, { kind: 'announce', attempt: 1 });
  const decided =
    announced && changeMap(announced, move, { kind: 'decide', attempt: 1, epoch: map.epoch + 1 });
  if (decided === undefined) throw new Error('the map does not change');
  return {
    ...decided,
    groups: decided.groups.map((other) =>
      other.name === group.name ? { ...other, nextId: next + children.length } : other,
    ),
  };
}

const changes = fc.array(
  fc
    .array(fc.nat({ max: 40 }), { minLength: 4, maxLength: 4 })
    .map(([a = 0, b = 0, c = 0, d = 0]) => [a, b % 4, c, d]),
  { maxLength: 12 },
);

describe('a map that was split, isolated from and merged', () => {
  it('is still what spec.tables asks for, and gains what it gains', () => {
    fc.assert(
      fc.property(changes, (list) => {
        const map = list.reduce(change, initialMap('shop', layout, shards));
        expect(reconcileMap(map, layout, shards)).toEqual({ map, changed: false, problems: [] });
        const wider = layoutOf(
          tables.map((table) =>
            table.name === 'r'
              ? { ...table, bounds: [...(table.bounds ?? []), { from: '30', to: '40' }] }
              : table,
          ),
        );
        const gained = reconcileMap(map, wider, shards);
        expect(gained.problems).toEqual([]);
        const before = map.groups.find(({ name }) => name === 'r');
        const after = gained.map.groups.find(({ name }) => name === 'r');
        expect(after?.buckets.slice(0, -1)).toEqual(before?.buckets);
        expect(after?.buckets.at(-1)).toMatchObject({
          id: before && nextBucketId(before),
          range: { from: '30', to: '40' },
        });
      }),
    );
  });

  it('never gives a number twice', () => {
    fc.assert(
      fc.property(changes, (list) => {
        let map = initialMap('shop', layout, shards);
        const gone = new Set<string>();
        for (const numbers of list) {
          const before = map;
          map = change(map, numbers);
          for (const group of map.groups) {
            const old = before.groups.find(({ name }) => name === group.name)?.buckets ?? [];
            for (const { id } of group.buckets) expect(gone.has(`${group.name}/${id}`)).toBe(false);
            for (const { id } of old) {
              if (group.buckets.every((bucket) => bucket.id !== id)) gone.add(`${group.name}/${id}`);
            }
          }
        }
      }),
    );
  });

  it.each<[string, Table, string]>([
    [
      'a range taken away',
      { name: 'r', strategy: 'range', key: 'k', bounds: [{ to: '10' }, { from: '20', to: '30' }] },
      'bound-changed',
    ],
    [
      'a region taken away',
      { name: 'g', strategy: 'geographic', key: 'k', regions: [{ name: 'b', values: ['y'] }] },
      'bound-changed',
    ],
  ])('does not admit %s', (_, table, code) => {
    const numbers = [
      [0, 2, 0, 0],
      [1, 2, 1, 0],
      [2, 2, 0, 0],
    ];
    const map = numbers.reduce(change, initialMap('shop', layout, shards));
    const changed = layoutOf(tables.map((other) => (other.name === table.name ? table : other)));
    expect(reconcileMap(map, changed, shards).problems.map((problem) => problem.code)).toContain(code);
  });
});
