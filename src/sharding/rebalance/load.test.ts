import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addSamples, type BucketCounters, forgetLoad, type LoadSample, noLoad } from './load.ts';
import { readRates, writeRates } from './load-text.ts';

const second = 1_000;
const halfLifeMs = 120 * second;

function sample(atMs: number, counters: Partial<BucketCounters>, incarnation = 'a', id = 0): LoadSample {
  return { atMs, incarnation, buckets: [{ group: 'g', id, reads: 0, writes: 0, blocks: 0, ...counters }] };
}

function measure(samples: readonly LoadSample[], start = noLoad) {
  return samples.reduce((state, next) => addSamples(state, new Map([['s0', next]]), halfLifeMs), start);
}

describe('load of a bucket', () => {
  it('weighs a write as four reads, and a block as ten', () => {
    const { rates } = measure([sample(0, {}), sample(second, { reads: 100, writes: 10, blocks: 1 })]);
    expect(rates).toEqual({ 'g/0': 150 });
  });

  it('follows a change by half in its half-life', () => {
    const { rates } = measure([
      sample(0, {}),
      sample(second, { reads: 100 }),
      sample(second + halfLifeMs, { reads: 100 + 300 * 120 }),
    ]);
    expect(rates['g/0']).toBeCloseTo(200);
  });

  it.each([
    ['a reset of one table', sample(2 * second, { reads: 5 })],
    ['a failover to a standby that had counted more', sample(2 * second, { reads: 1e9 }, 'b')],
    ['a restart', sample(2 * second, { reads: 0 }, 'b')],
    ['a clock that went back', sample(500, { reads: 1e9 })],
  ])('takes %s for a new beginning', (_, disturbance) => {
    const before = measure([sample(0, {}), sample(second, { reads: 100 })]);
    const after = measure([disturbance], before);
    expect(after.rates).toEqual({ 'g/0': 100 });
    const { atMs, incarnation, buckets } = disturbance;
    const reads = (buckets[0]?.reads ?? 0) + 100;
    expect(measure([sample(atMs + second, { reads }, incarnation)], after).rates['g/0']).toBeCloseTo(100);
  });

  it('stays with the bucket when the shard does not answer, and when it moves', () => {
    const before = measure([sample(0, {}), sample(second, { reads: 100 })]);
    expect(addSamples(before, new Map(), halfLifeMs)).toEqual(before);
    // On its new shard the leaf has counted the copy: that is no load.
    const moved = addSamples(before, new Map([['s1', sample(2 * second, { writes: 1e6 }, 'c')]]), halfLifeMs);
    expect(moved.rates).toEqual({ 'g/0': 100 });
  });

  it('is forgotten with the bucket', () => {
    const state = measure([sample(0, {}), sample(second, { reads: 100 })]);
    expect(forgetLoad(state, new Set(), new Set(['s0'])).rates).toEqual({});
    expect(forgetLoad(state, new Set(['g/0']), new Set()).baselines).toEqual({});
  });
});

const steps = fc.array(
  fc.record({
    elapsedMs: fc.integer({ min: 1, max: 300_000 }),
    reads: fc.nat(100_000),
    writes: fc.nat(100_000),
    blocks: fc.nat(1_000),
    disturbance: fc.constantFrom('none', 'none', 'none', 'reset', 'failover', 'silence' as const),
  }),
  { minLength: 1, maxLength: 30 },
);

describe('every course of counters', () => {
  it('gives loads between nothing and the most that was really done in a second', () => {
    fc.assert(
      fc.property(steps, (course) => {
        let state = noLoad;
        let atMs = 0;
        let incarnation = 0;
        let counters: BucketCounters = { reads: 0, writes: 0, blocks: 0 };
        let most = 0;
        let silentMs = 0;
        let silentWork = 0;
        for (const { elapsedMs, disturbance, ...done } of course) {
          atMs += elapsedMs;
          if (disturbance === 'reset' || disturbance === 'failover')
            counters = { reads: 0, writes: 0, blocks: 0 };
          if (disturbance === 'failover') incarnation += 1;
          counters = {
            reads: counters.reads + done.reads,
            writes: counters.writes + done.writes,
            blocks: counters.blocks + done.blocks,
          };
          const work = done.reads + 4 * done.writes + 10 * done.blocks + silentWork;
          most = Math.max(most, (work * 1_000) / (elapsedMs + silentMs), (work * 1_000) / elapsedMs);
          if (disturbance === 'silence') {
            silentMs += elapsedMs;
            silentWork = work;
            continue;
          }
          silentMs = 0;
          silentWork = 0;
          state = measure([sample(atMs, counters, String(incarnation))], state);
          const rate = state.rates['g/0'] ?? 0;
          expect(rate).toBeGreaterThanOrEqual(0);
          expect(rate).toBeLessThanOrEqual(most * (1 + 1e-9));
        }
      }),
    );
  });

  it('settles at a constant rate, whatever was before', () => {
    fc.assert(
      fc.property(steps, fc.nat(1_000), fc.integer({ min: 1_000, max: 60_000 }), (course, rate, everyMs) => {
        let atMs = 0;
        const history = course.map(({ elapsedMs, reads }) => {
          atMs += elapsedMs;
          return sample(atMs, { reads }, String(atMs));
        });
        const samples = Array.from({ length: Math.ceil((30 * halfLifeMs) / everyMs) + 2 }, (_, index) =>
          sample(atMs + (index + 1) * everyMs, { reads: (rate * index * everyMs) / 1_000 }, 'steady'),
        );
        expect(measure([...history, ...samples]).rates['g/0']).toBeCloseTo(rate, 0);
      }),
      { numRuns: 20 },
    );
  });

  it('goes on after a restart of the operator from two significant digits', () => {
    const rate = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1e9, noNaN: true }));
    fc.assert(
      fc.property(fc.array(rate, { maxLength: 64 }), (values) => {
        const buckets = values.map((_, id) => ({ group: id % 2 === 0 ? 'even' : 'odd', id }));
        const rates = Object.fromEntries(buckets.map(({ group, id }) => [`${group}/${id}`, values[id] ?? 0]));
        const restored = readRates(writeRates(rates, buckets));
        for (const [name, value] of Object.entries(rates)) {
          const error = Math.abs((restored[name] ?? 0) - value);
          expect(error).toBeLessThanOrEqual(Math.max(0.1, 0.051 * value));
        }
        expect(writeRates(restored, buckets)).toEqual(writeRates(rates, buckets));
      }),
    );
  });

  it('reads nothing out of a text that is none', () => {
    expect(readRates([{ group: 'g', loads: 'x 1: :2 3:4 5:6x -1:2' }])).toEqual({ 'g/3': 4 });
  });
});
