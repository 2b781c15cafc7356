import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Bound, BucketBound } from '../api/v1alpha1/shard-map.ts';
import { isolateTenant, mergeBounds, type Reshaped, splitHash, splitRange } from './reshape.ts';

function boundsOf(reshaped: Reshaped): readonly Bound[] {
  if (reshaped.kind === 'refused') throw new Error(reshaped.problem.message);
  return reshaped.bounds;
}

const withIds = (bounds: readonly Bound[]) => bounds.map((bound, id): BucketBound => ({ id, ...bound }));
const takesHash = (key: number) => (bound: Bound) =>
  bound.hash !== undefined && key % bound.hash.modulus === bound.hash.remainder;
const takesNumber = (key: number) => (bound: Bound) =>
  Number(bound.range?.from ?? -1e9) <= key && key < Number(bound.range?.to ?? 1e9);

const hash = fc.integer({ min: 1, max: 64 }).chain((modulus) =>
  fc.record({
    id: fc.nat({ max: 99 }),
    hash: fc.nat({ max: modulus - 1 }).map((remainder) => ({ modulus, remainder })),
  }),
);
const parts = fc.constantFrom(2, 4, 8, 16, 32, 64);

describe('the parts of a hash bucket', () => {
  it('begin where PostgreSQL has found the place to be inside, whatever texts look like', () => {
    expect(splitRange({ id: 0, range: { from: '1', to: '5' } }, '2871')).toEqual({
      kind: 'bounds',
      bounds: [{ range: { from: '1', to: '2871' } }, { range: { from: '2871', to: '5' } }],
    });
  });

  it('take each of its keys once, and no other', () => {
    fc.assert(
      fc.property(hash, parts, fc.nat(), (bucket, count, key) => {
        const children = boundsOf(splitHash(bucket, count));
        expect(children).toHaveLength(count);
        expect(children.filter(takesHash(key)).length).toBe(takesHash(key)(bucket) ? 1 : 0);
      }),
    );
  });

  it('are merged into it again, in any order, and some of them into less', () => {
    fc.assert(
      fc.property(
        hash,
        parts.chain((count) =>
          fc.tuple(fc.constant(count), fc.shuffledSubarray([...Array(count).keys()], { minLength: 2 })),
        ),
        ({ id, ...bound }, [count, chosen]) => {
          const children = withIds(boundsOf(splitHash({ id, ...bound }, count)));
          expect(mergeBounds(children)).toEqual({ kind: 'bounds', bounds: [bound] });
          const merged = mergeBounds(chosen.flatMap((index) => children[index] ?? []));
          if (merged.kind === 'refused') return;
          for (let key = 0; key < 200; key += 1) {
            const before = chosen.filter((index) => takesHash(key)(children[index] ?? {})).length;
            expect(merged.bounds.filter(takesHash(key)).length).toBe(before);
          }
        },
      ),
    );
  });

  it('stay in their region, or in the default', () => {
    const region = { region: 'east', values: ['JFK'] };
    const bucket = { id: 3, ...region, hash: { modulus: 2, remainder: 1 } };
    expect(boundsOf(splitHash(bucket, 2))).toEqual([
      { ...region, hash: { modulus: 4, remainder: 1 } },
      { ...region, hash: { modulus: 4, remainder: 3 } },
    ]);
    const rest = { id: 0, isDefault: true, hash: { modulus: 1, remainder: 0 } };
    expect(boundsOf(splitHash(rest, 2))[1]).toEqual({ isDefault: true, hash: { modulus: 2, remainder: 1 } });
  });
});

describe('the parts of a range', () => {
  const range = fc
    .tuple(
      fc.integer({ min: -500, max: 500 }),
      fc.integer({ min: 2, max: 500 }),
      fc.integer({ min: 0, max: 3 }),
    )
    .map(([from, length, open]) => ({
      id: 0,
      range: {
        ...(open & 1 ? {} : { from: String(from) }),
        ...(open & 2 ? {} : { to: String(from + length) }),
      },
    }));
  it('take each of its keys once, and no other, and are merged into it again', () => {
    fc.assert(
      fc.property(
        range,
        fc.integer({ min: -1_100, max: 1_100 }),
        fc.integer({ min: -1_100, max: 1_100 }),
        (bucket, at, key) => {
          const reshaped = splitRange(bucket, String(at));
          const { from, to } = bucket.range;
          const isInside = (from === undefined || Number(from) < at) && (to === undefined || at < Number(to));
          fc.pre(isInside);
          if (reshaped.kind === 'refused') throw new Error(reshaped.problem.message);
          expect(reshaped.bounds.filter(takesNumber(key)).length).toBe(takesNumber(key)(bucket) ? 1 : 0);
          const [lower, upper] = withIds(reshaped.bounds);
          for (const order of [
            [lower, upper],
            [upper, lower],
          ]) {
            const merged = mergeBounds(order.flatMap((bound) => bound ?? []));
            expect(merged).toEqual({ kind: 'bounds', bounds: [{ range: bucket.range }] });
          }
        },
      ),
    );
  });
});

it('an isolated tenant has a list of its own, and the others keep their bound', () => {
  const rest = { isDefault: true, hash: { modulus: 4, remainder: 2 } };
  expect(isolateTenant({ id: 2, ...rest }, 'acme')).toEqual({
    kind: 'bounds',
    bounds: [{ values: ['acme'] }, rest],
  });
});

it.each<[string, Reshaped, string]>([
  [
    'a split into three',
    splitHash({ id: 0, hash: { modulus: 4, remainder: 0 } }, 3),
    'write 2, 4, 8, 16, 32 or 64',
  ],
  ['a split of a range into parts', splitHash({ id: 0, range: {} }, 2), 'only a hash bucket'],
  [
    'a split of too small a part',
    splitHash({ id: 0, hash: { modulus: 2 ** 30, remainder: 0 } }, 2),
    'too small',
  ],
  [
    'a split of a hash bucket at a key',
    splitRange({ id: 0, hash: { modulus: 4, remainder: 0 } }, '7'),
    'only a range',
  ],
  [
    'a tenant of a hash group',
    isolateTenant({ id: 0, hash: { modulus: 4, remainder: 0 } }, 'a'),
    'not among those',
  ],
  ['a merge of one', mergeBounds([{ id: 0, hash: { modulus: 4, remainder: 0 } }]), 'name two or more'],
  [
    'a merge of cousins',
    mergeBounds([
      { id: 4, hash: { modulus: 4, remainder: 0 } },
      { id: 5, hash: { modulus: 4, remainder: 1 } },
    ]),
    'has remainder 2 of 4 as its sibling',
  ],
  [
    'a merge of buckets of an odd number',
    mergeBounds([
      { id: 0, hash: { modulus: 3, remainder: 0 } },
      { id: 1, hash: { modulus: 3, remainder: 1 } },
    ]),
    'has none as its sibling',
  ],
  [
    'a merge of ranges apart',
    mergeBounds([
      { id: 0, range: { from: '1', to: '2' } },
      { id: 1, range: { from: '3', to: '4' } },
    ]),
    'none of them starts at 2',
  ],
  [
    'a merge of two regions',
    mergeBounds([
      { id: 0, region: 'a', hash: { modulus: 2, remainder: 0 } },
      { id: 1, region: 'b', hash: { modulus: 2, remainder: 1 } },
    ]),
    'different kinds',
  ],
  [
    'a merge of tenants',
    mergeBounds([
      { id: 0, values: ['a'] },
      { id: 1, values: ['a'] },
    ]),
    'only hash buckets and ranges',
  ],
])('%s is refused', (_, reshaped, says) => {
  expect(reshaped).toMatchObject({ kind: 'refused', problem: { message: expect.stringContaining(says) } });
});
