import { describe, expect, it } from 'vitest';
import type { Bucket, BucketGroup } from '../../api/v1alpha1/shard-map.ts';
import { outcomeOf } from './outcome.ts';

const bucket = (id: number, hash?: Bucket['hash']): Bucket => ({
  id,
  shard: 's0',
  epoch: 3,
  ...(hash === undefined ? {} : { hash }),
});
const first = bucket(0, { modulus: 2, remainder: 0 });
const group: BucketGroup = {
  name: 'g',
  strategy: 'hash',
  buckets: [first, bucket(1, { modulus: 2, remainder: 1 })],
};

describe('what comes of a move', () => {
  it('is the same bucket, without its owner', () => {
    const bound = { id: 0, hash: { modulus: 2, remainder: 0 } };
    expect(outcomeOf({ operation: 'move' }, group, [first])).toEqual({ parents: [bound], children: [bound] });
  });

  it('of a split is two buckets with numbers that nobody gets again', () => {
    const outcome = outcomeOf({ operation: 'split' }, { ...group, nextId: 7 }, [first]);
    expect(outcome).toMatchObject({
      children: [
        { id: 7, hash: { modulus: 4, remainder: 0 } },
        { id: 8, hash: { modulus: 4, remainder: 2 } },
      ],
      group: { nextId: 9 },
    });
  });

  it('of a merge is one', () => {
    expect(outcomeOf({ operation: 'merge' }, group, group.buckets)).toMatchObject({
      children: [{ id: 2, hash: { modulus: 1, remainder: 0 } }],
      group: { nextId: 3 },
    });
  });

  it.each<[string, Parameters<typeof outcomeOf>, string]>([
    [
      'too many buckets',
      [{ operation: 'split', parts: 64 }, manyBuckets(1000), [bucket(0, { modulus: 1000, remainder: 0 })]],
      'TooManyBuckets',
    ],
    ['no more numbers', [{ operation: 'split' }, { ...group, nextId: 9_999 }, [first]], 'TooManyBuckets'],
    ['three parts', [{ operation: 'split', parts: 3 }, group, [first]], 'PartsNotPowerOfTwo'],
    ['a key to split a hash bucket at', [{ operation: 'split', at: '5' }, group, [first]], 'NotARange'],
    [
      'a range beside a DEFAULT',
      [
        { operation: 'split', at: '5' },
        {
          ...group,
          buckets: [
            { ...bucket(0), range: {} },
            { ...bucket(1), isDefault: true },
          ],
        },
        [{ ...bucket(0), range: {} }],
      ],
      'BesideDefault',
    ],
    ['no siblings', [{ operation: 'merge' }, group, [first]], 'NotSiblings'],
  ])('is refused for %s', (_, args, reason) => {
    expect(outcomeOf(...args)).toMatchObject({ reason });
  });
});

function manyBuckets(count: number): BucketGroup {
  const buckets = Array.from({ length: count }, (_, remainder) =>
    bucket(remainder, { modulus: count, remainder }),
  );
  return { ...group, buckets };
}
