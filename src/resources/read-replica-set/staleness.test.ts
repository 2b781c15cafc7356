import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Sample, stalenessOf, withSample } from './staleness.ts';

const history: readonly Sample[] = [
  { atMs: 1_000, position: 100 },
  { atMs: 2_000, position: 200 },
  { atMs: 9_000, position: 300 },
];

test.each([
  { what: 'has everything', position: 300, expected: { ms: 0, exact: true } },
  { what: 'is ahead of the last look', position: 310, expected: { ms: 0, exact: true } },
  { what: 'lacks what came 1 s ago', position: 200, expected: { ms: 1_000, exact: true } },
  { what: 'stands between two looks', position: 250, expected: { ms: 1_000, exact: true } },
  { what: 'lacks what came 8 s ago', position: 150, expected: { ms: 8_000, exact: true } },
  { what: 'was behind before anybody looked', position: 50, expected: { ms: 9_000, exact: false } },
])('a standby that $what', ({ position, expected }) => {
  expect(stalenessOf(history, position, 10_000)).toEqual(expected);
});

test('an idle primary makes nobody late', () => {
  const idle = withSample([{ atMs: 0, position: 100 }], { atMs: 3_600_000, position: 100 }, 10_000);
  expect(stalenessOf(idle, 100, 3_600_000)).toEqual({ ms: 0, exact: true });
});

test('nothing is known before the first look', () => {
  expect(stalenessOf([], 100, 0)).toBeUndefined();
});

test('another timeline starts anew', () => {
  expect(withSample(history, { atMs: 10_000, position: 250 }, 60_000)).toEqual([
    { atMs: 10_000, position: 250 },
  ]);
});

test('is never more than it was, as long as it matters, and says so when it may be', () => {
  const steps = fc.array(
    fc.record({ ms: fc.integer({ min: 1, max: 3_000 }), bytes: fc.integer({ min: 0, max: 50 }) }),
    {
      minLength: 1,
      maxLength: 60,
    },
  );
  fc.assert(
    fc.property(steps, fc.integer({ min: 0, max: 3_000 }), (moves, replayed) => {
      const keepMs = 20_000;
      let kept: readonly Sample[] = [];
      const all: Sample[] = [];
      let sample: Sample = { atMs: 0, position: 1 };
      for (const { ms, bytes } of moves) {
        sample = { atMs: sample.atMs + ms, position: sample.position + bytes };
        kept = withSample(kept, sample, keepMs);
        if (all.at(-1)?.position !== sample.position) all.push(sample);
      }
      const full = stalenessOf(all, replayed, sample.atMs);
      const short = stalenessOf(kept, replayed, sample.atMs);
      if (full === undefined || short === undefined) throw new Error('there were samples');
      expect(short.ms).toBeLessThanOrEqual(full.ms);
      if (full.ms <= keepMs || short.exact) expect(short.ms).toBe(full.ms);
    }),
  );
});
