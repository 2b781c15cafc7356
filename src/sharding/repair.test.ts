import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Bucket, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import type { Table } from '../api/v1alpha1/table.ts';
import { layoutOf } from './layout.ts';
import { bucketsOf, initialMap } from './map.ts';
import { mirrorRow } from './mirror.ts';
import { leafName, leafParent, markerName } from './names.ts';
import { repairMap, type Testimony, type Verdict } from './repair.ts';
import type { CatalogTable, MovingBucket } from './shard-catalog.ts';

const shards = ['s0', 's1', 's2'];
const tables: Table[] = [
  { name: 'h', strategy: 'hash', key: 'k', buckets: 6 },
  { name: 'lines', strategy: 'hash', key: 'k', group: 'h' },
  { name: 'r', strategy: 'range', key: 'k', bounds: [{ to: '1' }, { from: '1', to: '2' }, { from: '2' }] },
  {
    name: 'g',
    strategy: 'geographic',
    key: 'k',
    hashKey: 'h',
    regions: [
      { name: 'a', values: ['x'], buckets: 2 },
      { name: 'b', values: ['y', 'z'] },
    ],
  },
  { name: 'd', strategy: 'directory', key: 'k', buckets: 4, tenants: [{ value: 't' }, { value: 'u' }] },
];
const layout = layoutOf(tables);
/** As after some moves, and a split of bucket 0 of the first group. */
const map = moved(
  initialMap(
    'shop',
    layout,
    shards.map((name) => ({ name })),
  ),
);

function moved(first: ShardMapSpec): ShardMapSpec {
  const groups = first.groups.map((group) => {
    const buckets = group.buckets.map((bucket): Bucket => {
      const away = { ...bucket, shard: shards[bucket.id % 2] ?? '', epoch: 3 + bucket.id };
      return bucket.id % 3 === 1 ? away : bucket;
    });
    if (group.name !== 'h') return { ...group, buckets };
    const halves = [0, 6].map((remainder, index): Bucket => {
      return { id: 6 + index, shard: 's2', epoch: 11, hash: { modulus: 12, remainder } };
    });
    return { ...group, nextId: 8, buckets: [...buckets.filter(({ id }) => id !== 0), ...halves] };
  });
  return { ...first, epoch: 20, groups };
}

type Answer = Exclude<Testimony, 'unknown'>;

/** What the shards hold when they are as a map says. */
function answersOf(truth: ShardMapSpec): Map<string, Testimony> {
  const table = {
    owner: 'app',
    partitioned: false,
    strategy: null,
    key: [],
    keyTypes: [],
    primaryKey: ['k'],
  };
  return new Map(
    shards.map((shard): [string, Answer] => [
      shard,
      {
        moving: [],
        conversions: [],
        markers: bucketsOf(truth, shard).map(({ group, bucket: { id, epoch } }) => {
          return { name: markerName(group.name, id), bucket: id, epoch };
        }),
        mirror: truth.groups.flatMap((group) =>
          group.buckets.map((bucket) => mirrorRow(group, bucket, { host: 'h', port: 5432, dbname: 'app' })),
        ),
        tables: bucketsOf(truth, shard).flatMap(({ group, bucket }) =>
          (layout.groups.find(({ name }) => name === group.name)?.tables ?? []).map(
            ({ name }): CatalogTable => ({
              ...table,
              name: leafName(name, bucket.id),
              parent: leafParent(name, bucket, group),
              bound: 'FOR VALUES',
              checks: [],
              refuses: false,
            }),
          ),
        ),
      },
    ]),
  );
}

function judge(
  edited: ShardMapSpec,
  answers: ReadonlyMap<string, Testimony> = answersOf(map),
  moving: readonly MovingBucket[] = [],
): Verdict {
  return repairMap({ map: edited, layout, answers, moving });
}

/** Repairs until there is nothing to repair; each change has to be one that the API server takes. */
function repaired(edited: ShardMapSpec): ShardMapSpec {
  let current = edited;
  for (let pass = 0; pass < 3; pass += 1) {
    const verdict = judge(current);
    if (verdict.kind === 'sound') return current;
    if (verdict.kind !== 'repaired') throw new Error(JSON.stringify(verdict));
    expectTaken(current, verdict.map);
    current = verdict.map;
  }
  expect(judge(current)).toEqual({ kind: 'sound' });
  return current;
}

function expectTaken(before: ShardMapSpec, after: ShardMapSpec): void {
  expect(after.epoch).toBeGreaterThanOrEqual(before.epoch);
  for (const group of after.groups) {
    for (const bucket of group.buckets) {
      expect(bucket.epoch).toBeLessThanOrEqual(after.epoch);
      const old = before.groups
        .find(({ name }) => name === group.name)
        ?.buckets.find(({ id }) => id === bucket.id);
      if (old !== undefined && old.shard !== bucket.shard) expect(bucket.epoch).toBeGreaterThan(old.epoch);
    }
  }
}

function change(
  group: string,
  id: number,
  edit: (bucket: Bucket) => Bucket | undefined,
  given = map,
): ShardMapSpec {
  return {
    ...given,
    epoch: given.epoch + 1,
    groups: given.groups.map((known) =>
      known.name !== group
        ? known
        : {
            ...known,
            buckets: known.buckets.flatMap((bucket) => (bucket.id === id ? (edit(bucket) ?? []) : bucket)),
          },
    ),
  };
}

const all = map.groups.flatMap((group) => group.buckets.map(({ id }) => ({ group: group.name, id })));
const edits = fc.record({
  bucket: fc.constantFrom(...all),
  edit: fc.constantFrom<((bucket: Bucket, epoch: number) => Bucket | undefined)[]>(
    (bucket, epoch) => ({ ...bucket, shard: bucket.shard === 's0' ? 's1' : 's0', epoch }),
    (bucket, epoch) => ({ ...bucket, epoch }),
    (bucket) => ({ ...bucket, epoch: 1 }),
    (bucket) => ({ ...bucket, hash: { modulus: 97, remainder: 3 } }),
    (bucket) => ({ ...bucket, range: { from: '7' } }),
    ({ hash: _, range: __, values: ___, isDefault: ____, ...bucket }) => bucket,
    () => undefined,
  ),
});

describe('a map that somebody has edited', () => {
  it('becomes what it was, whatever was edited', () => {
    fc.assert(
      fc.property(fc.array(edits, { minLength: 1, maxLength: 8 }), fc.boolean(), (list, isGone) => {
        let edited = map;
        for (const { bucket, edit } of list)
          edited = change(bucket.group, bucket.id, (found) => edit(found, edited.epoch + 1), edited);
        if (isGone) edited = { ...edited, groups: edited.groups.slice(1) };
        const byName = (spec: ShardMapSpec) =>
          spec.groups
            .map((group) => ({ ...group, buckets: [...group.buckets].sort((a, b) => a.id - b.id) }))
            .sort((a, b) => a.name.localeCompare(b.name));
        expect(byName(repaired(edited))).toEqual(byName(map));
      }),
    );
  });

  it.each<[string, string, Omit<Bucket, 'epoch'>]>([
    ['of keys that another takes', 'h', { id: 8, shard: 's1', hash: { modulus: 6, remainder: 1 } }],
    ['of some of them', 'h', { id: 900, shard: 's1', hash: { modulus: 24, remainder: 1 } }],
    ['of a tenant that is not in the layout', 'd', { id: 77, shard: 's0', values: ['w'] }],
    ['of a range', 'r', { id: 3, shard: 's0', range: { from: '1', to: '5' } }],
  ])('loses a bucket %s that no shard has heard of', (_, name, bucket) => {
    const groups = map.groups.map((group) =>
      group.name === name ? { ...group, buckets: [...group.buckets, { ...bucket, epoch: 20 }] } : group,
    );
    expect(repaired({ ...map, groups }).groups).toEqual(map.groups);
  });

  it('keeps a bucket that the layout has gained and no shard has made yet', () => {
    const without = change('r', 2, () => undefined);
    expect(judge(map, answersOf(without))).toEqual({ kind: 'sound' });
  });
});

describe('a map is left as it is', () => {
  const stolen = change('h', 1, (bucket) => ({ ...bucket, shard: 's2', epoch: 21 }));
  const lacking = change('h', 1, () => undefined);
  const [owner] = map.groups[0]?.buckets.filter(({ id }) => id === 1).map(({ shard }) => shard) ?? [];
  const withAnswer = (shard: string, edit: (answer: Answer) => Partial<Answer>) => {
    const answers = answersOf(map);
    const answer = answers.get(shard);
    if (answer === undefined || answer === 'unknown') throw new Error(`${shard} says nothing`);
    return answers.set(shard, { ...answer, ...edit(answer) });
  };

  it('while it is what the shards hold', () => {
    expect(judge(map)).toEqual({ kind: 'sound' });
    expect(judge({ ...map, epoch: 4_000 })).toEqual({ kind: 'sound' });
  });

  it.each([
    ['differs', stolen],
    ['lacks a bucket', lacking],
  ])('and waited with, when it %s and a shard is silent', (_, edited) => {
    for (const shard of shards) {
      const answers = answersOf(map).set(shard, 'unknown');
      expect(judge(edited, answers)).toMatchObject({
        kind: 'waiting',
        message: expect.stringContaining(shard),
      });
    }
  });

  it('while a move may have changed it', () => {
    const row = { group: 'h', bucket: 1 };
    expect(
      judge(
        stolen,
        withAnswer('s1', () => ({ moving: [row] })),
      ),
    ).toEqual({ kind: 'sound' });
    expect(judge(stolen, answersOf(map), [row])).toEqual({ kind: 'sound' });
    const announced = change('h', 1, (bucket) => ({
      ...bucket,
      epoch: 21,
      pending: { move: 'm.1', attempt: 1 },
    }));
    expect(judge(announced)).toEqual({ kind: 'sound' });
    expect(judge(lacking, answersOf(map), [row])).toMatchObject({ kind: 'waiting' });
  });

  it('while a group becomes another', () => {
    const conversion = { phase: 'owned', group: 'h' } as Answer['conversions'][number];
    expect(
      judge(
        stolen,
        withAnswer('s0', () => ({ conversions: [conversion] })),
      ),
    ).toEqual({ kind: 'sound' });
  });

  it('while it lacks a group that is newer than it, and gets its buckets later: its tables were just converted', () => {
    const groups = map.groups.map((group) =>
      group.name === 'h'
        ? { ...group, buckets: group.buckets.map((bucket) => ({ ...bucket, epoch: 21 })) }
        : group,
    );
    const before = { ...map, groups: map.groups.filter(({ name }) => name !== 'h') };
    expect(judge(before, answersOf({ ...map, groups }))).toEqual({ kind: 'sound' });
    expect(judge({ ...before, epoch: 21 }, answersOf({ ...map, groups })).kind).toBe('repaired');
  });

  it('when a mirror is behind it, as the others are after a move', () => {
    const behind = answersOf(change('h', 1, (bucket) => ({ ...bucket, shard: 's2', epoch: 2 })));
    const old = behind.get('s2');
    if (old === undefined || old === 'unknown') throw new Error('s2 says nothing');
    expect(
      judge(
        map,
        withAnswer('s2', () => ({ mirror: old.mirror })),
      ),
    ).toEqual({ kind: 'sound' });
  });

  const isIt = ({ name }: { readonly name: string }) => name === markerName('h', 1);
  it.each<[string, string, (answer: Answer) => Partial<Answer>, string]>([
    [
      'two shards have its marker',
      's2',
      ({ markers }) => ({ markers: [...markers, { name: markerName('h', 1), bucket: 1, epoch: 21 }] }),
      'have its marker',
    ],
    [
      'its marker is gone',
      owner ?? '',
      ({ markers }) => ({ markers: markers.filter((marker) => !isIt(marker)) }),
      'no shard has its marker',
    ],
    [
      'its marker is of another time',
      owner ?? '',
      ({ markers }) => ({
        markers: markers.map((marker) => (isIt(marker) ? { ...marker, epoch: 2 } : marker)),
      }),
      'its marker is on',
    ],
    [
      'mirrors differ',
      's2',
      ({ mirror }) => ({
        mirror: mirror.map((row) =>
          row.group_name === 'h' && row.bucket === 1 ? { ...row, shard: 's2' } : row,
        ),
      }),
      'mirrors differ',
    ],
    ['its leaves are gone', owner ?? '', () => ({ tables: [] }), 'does not have its leaves'],
    [
      'another shard has a leaf of it',
      's2',
      ({ tables: found }) => {
        const [leaf] = found;
        return {
          tables: leaf === undefined ? found : [...found, { ...leaf, name: leafName('h', 1), parent: 'h' }],
        };
      },
      'has a leaf of it',
    ],
  ])('and told of, when %s', (_, shard, edit, says) => {
    const verdict = judge(stolen, withAnswer(shard, edit));
    expect(verdict.kind).toBe('contradicted');
    expect(verdict.kind === 'contradicted' && verdict.problems[0]?.message).toContain(says);
  });

  it('when it was put back from before a move: that is for a person to see', () => {
    const newer = change('h', 1, (bucket) => ({ ...bucket, shard: 's2', epoch: 30 }));
    expect(judge(map, answersOf(newer))).toEqual({ kind: 'sound' });
    expect(judge(lacking, answersOf(newer))).toMatchObject({ kind: 'contradicted' });
  });
});
