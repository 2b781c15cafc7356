import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hotSpots, type LoadWindow } from './hot.ts';

const bucket = (id: number, share: number, topKey?: { value: string; share: number }) => ({
  group: 'customer',
  id,
  share,
  ...(topKey === undefined ? {} : { topKey }),
});

function window(utilisations: readonly number[], buckets: LoadWindow[number]['buckets'] = []): LoadWindow {
  return utilisations.map((utilisation, index) => ({
    name: `s${index}`,
    utilisation,
    buckets: index === 0 ? buckets : [],
  }));
}

const calm = window([0.3, 0.3, 0.3]);

describe('what is hot', () => {
  it.each<[string, LoadWindow[], boolean]>([
    [
      'three windows of five',
      [window([0.9, 0.2, 0.3]), calm, window([0.8, 0.3, 0.3]), calm, window([0.8, 0.3, 0.3])],
      true,
    ],
    ['two windows of five', [window([0.9, 0.2, 0.3]), calm, calm, calm, window([0.9, 0.2, 0.3])], false],
    [
      'three windows, two of them long ago',
      [...Array(2).fill(window([0.9, 0.1, 0.1])), calm, calm, calm, calm, window([0.9, 0.1, 0.1])],
      false,
    ],
    ['70 % exactly', Array(5).fill(window([0.7, 0.2, 0.2])), false],
    ['all busy alike', Array(5).fill(window([0.95, 0.9, 0.85])), false],
    ['one of two', Array(5).fill(window([0.9, 0.2])), true],
    ['one shard alone', Array(5).fill(window([0.99])), false],
  ])('is a shard over 70 % and over 1.25 × the median: %s', (_, history, isHot) => {
    expect(hotSpots(history).map((spot) => spot.kind)).toEqual(isHot ? ['shard'] : []);
  });

  it.each([
    [0.29, []],
    [0.3, ['move']],
    [0.59, ['move']],
    [0.6, ['split']],
  ])('is a bucket with %f of the load of a hot shard', (share, remedies) => {
    const spots = hotSpots(Array(3).fill(window([0.9, 0.1, 0.1], [bucket(7, share), bucket(8, 0.2)])));
    expect(spots.flatMap((spot) => (spot.kind === 'bucket' ? [spot.remedy] : []))).toEqual(remedies);
  });

  it('is no bucket after one burst', () => {
    const quiet = window([0.9, 0.1, 0.1], [bucket(7, 0.05)]);
    expect(hotSpots([quiet, quiet, window([0.9, 0.1, 0.1], [bucket(7, 0.7)])])).toHaveLength(1);
  });

  it('is a tenant with half of a hot bucket', () => {
    const history = (share: number) =>
      Array(3).fill(window([0.9, 0.1, 0.1], [bucket(7, 0.5, { value: 'acme', share })]));
    expect(hotSpots(history(0.5)).at(-1)).toMatchObject({
      kind: 'tenant',
      tenant: 'acme',
      bucket: { id: 7 },
    });
    expect(hotSpots(history(0.49)).at(-1)).toMatchObject({ kind: 'bucket' });
  });

  it('is never a shard at or below the median, nor without three windows', () => {
    const utilisation = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(fc.array(utilisation, { minLength: 4, maxLength: 4 }), { maxLength: 8 }),
        (values) => {
          const spots = hotSpots(values.map((window_) => window(window_)));
          for (const spot of spots) {
            if (spot.kind !== 'shard') continue;
            expect(values.length).toBeGreaterThanOrEqual(3);
            expect(spot.utilisation).toBeGreaterThan(0.7);
            expect(spot.utilisation).toBeGreaterThan(spot.median);
          }
          // More than half of the shards cannot be over the median.
          expect(spots.length).toBeLessThanOrEqual(2);
        },
      ),
    );
  });
});
