import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AutoscaleInput,
  type AutoscaleSettings,
  type AutoscaleState,
  decideShards,
  type MetricReading,
} from './autoscale-shards.ts';

const minute = 60_000;
const settings: AutoscaleSettings = {
  minShards: 2,
  maxShards: 6,
  outStabilisationMs: 5 * minute,
  inStabilisationMs: 30 * minute,
  dryRun: false,
};

const shardNames = (count: number) => Array.from({ length: count }, (_, index) => `s${index}`);

function cpu(
  values: readonly number[],
  peakShareAfter = 1 / values.length,
  peakShareWithMore = 1 / (values.length + 1),
): MetricReading {
  return {
    type: 'CPU',
    target: 60,
    values: new Map(values.map((value, index) => [`s${index}`, value])),
    peakShareAfter,
    peakShareWithMore,
  };
}

function input(more: Partial<AutoscaleInput> & { metrics: readonly MetricReading[] }): AutoscaleInput {
  return {
    count: 2,
    shards: shardNames(2),
    settings,
    state: { base: 2, desired: 2 },
    isSettled: true,
    nowMs: 0,
    ...more,
  };
}

describe('the number of shards', () => {
  it('starts from the spec, within its limits, and follows it when it changes', () => {
    const first = decideShards(input({ count: 1, metrics: [cpu([1, 1])], state: undefined }));
    expect(first).toMatchObject({ desired: 2, reason: 'FollowsSpec' });
    const changed = decideShards(input({ count: 4, metrics: [cpu([1, 1])], state: { base: 2, desired: 5 } }));
    expect(changed).toMatchObject({ desired: 4, state: { base: 4, desired: 4 } });
  });

  it('grows by one after the stabilisation time, only when the best plan does not help', () => {
    const uneven = decideShards(input({ metrics: [cpu([100, 10])] }));
    expect(uneven).toMatchObject({ desired: 2, reason: 'WithinTarget' });
    const first = decideShards(input({ metrics: [cpu([80, 70])] }));
    expect(first).toMatchObject({
      desired: 2,
      reason: 'Stabilising',
      metrics: [{ peak: 80, peakAfter: 75, target: 60 }],
    });
    const later = decideShards(input({ metrics: [cpu([80, 70])], state: first.state, nowMs: 5 * minute }));
    expect(later).toMatchObject({
      desired: 3,
      reason: 'AboveTarget',
      state: { desired: 3, changedAtMs: 5 * minute },
    });
    expect(later.message).toContain(
      'CPU of the fullest shard would be 75 after the best plan, over its target of 60',
    );
  });

  it('takes a load that nobody could attribute for evenly spread', () => {
    const decision = decideShards(input({ metrics: [cpu([50, 40], 0, 0)] }));
    expect(decision.metrics[0]).toMatchObject({ peakAfter: 45, peakWithMore: 30, peakWithFewer: 90 });
  });

  it('does not grow for one bucket that no shard more would help', () => {
    const state: AutoscaleState = { base: 2, desired: 2, overSinceMs: -10 * minute };
    const decide = (withMore: number) =>
      decideShards(input({ metrics: [cpu([70, 10], 0.875, withMore)], state }));
    expect(decide(0.875)).toMatchObject({ desired: 2, reason: 'OneBucketTooHot' });
    expect(decide(0.5)).toMatchObject({ desired: 3, reason: 'AboveTarget' });
  });

  it('shrinks by one after a long quiet time, when all would hold with one fewer', () => {
    const quiet = input({
      count: 3,
      shards: shardNames(3),
      metrics: [cpu([20, 20, 20])],
      state: { base: 3, desired: 3 },
    });
    const first = decideShards(quiet);
    expect(first).toMatchObject({ desired: 3, reason: 'Stabilising', state: { quietSinceMs: 0 } });
    expect(decideShards({ ...quiet, state: first.state, nowMs: 29 * minute }).desired).toBe(3);
    expect(decideShards({ ...quiet, state: first.state, nowMs: 30 * minute })).toMatchObject({
      desired: 2,
      reason: 'BelowTarget',
    });
    expect(decideShards({ ...quiet, state: first.state, nowMs: 30 * minute, isSettled: false }).desired).toBe(
      3,
    );
    expect(
      decideShards({ ...quiet, metrics: [cpu([40, 40, 40])], state: first.state, nowMs: 30 * minute })
        .desired,
    ).toBe(3);
  });

  it('holds while a metric is missing, and does not take that for quiet', () => {
    const state: AutoscaleState = { base: 3, desired: 3, quietSinceMs: -60 * minute };
    const decision = decideShards(
      input({ count: 3, shards: shardNames(3), metrics: [cpu([10, 10])], state }),
    );
    expect(decision).toMatchObject({ desired: 3, reason: 'MetricsMissing' });
    expect(decision.message).toContain('s2');
    expect(decision.state.quietSinceMs).toBeUndefined();
  });

  it('stays within its limits, and says so', () => {
    const over: AutoscaleState = { base: 6, desired: 6, overSinceMs: -60 * minute };
    const shards = shardNames(6);
    expect(
      decideShards(input({ count: 6, shards, metrics: [cpu(Array(6).fill(99))], state: over })),
    ).toMatchObject({
      desired: 6,
      reason: 'AtMaximum',
    });
    expect(decideShards(input({ metrics: [cpu([1, 1])] }))).toMatchObject({
      desired: 2,
      reason: 'AtMinimum',
    });
  });

  it('only tells in a dry run', () => {
    const state: AutoscaleState = { base: 2, desired: 2, overSinceMs: -60 * minute };
    const decision = decideShards(
      input({ metrics: [cpu([80, 80])], state, settings: { ...settings, dryRun: true } }),
    );
    expect(decision).toMatchObject({
      desired: 2,
      recommended: 3,
      reason: 'AboveTarget',
      state: { desired: 2 },
    });
  });

  it.each([
    ['as it was scaled out', { base: 2, desired: 5 }, 5, 4],
    ['as the spec says that has changed', { base: 4, desired: 5 }, 2, 3],
    ['as it is without a memory', undefined, 2, 3],
  ])('stays %s in a dry run, and only tells what its limits ask for', (_, state, desired, recommended) => {
    const dry = { ...settings, dryRun: true, minShards: 3, maxShards: 4 };
    const first = decideShards(input({ metrics: [cpu([80, 80])], state, settings: dry }));
    expect(first).toMatchObject({ desired, recommended, reason: 'FollowsSpec', state: { base: 2, desired } });
    expect(first.message).toContain('(dry run: nothing is changed)');
    const next = decideShards(input({ metrics: [cpu([80, 80])], state: first.state, settings: dry }));
    expect(next).toMatchObject({ desired, recommended, state: first.state });
    const live = { ...dry, dryRun: false };
    const acted = decideShards(input({ metrics: [cpu([80, 80])], state: first.state, settings: live }));
    expect(acted).toMatchObject({ desired: recommended, recommended });
  });
});

const load = fc.integer({ min: 0, max: 500 });

/** Runs a course of total CPU, minute by minute, on shards that are added and emptied at once. */
function run(totals: readonly (number | undefined)[]): { desired: number; nowMs: number }[] {
  let state: AutoscaleState = { base: 2, desired: 2 };
  return totals.map((total, index) => {
    const count = state.desired;
    const values = total === undefined ? [] : Array(count).fill(total / count);
    const decision = decideShards(
      input({ shards: shardNames(count), metrics: [cpu(values, 1 / count)], state, nowMs: index * minute }),
    );
    state = decision.state;
    return { desired: decision.desired, nowMs: index * minute };
  });
}

describe('every course of load', () => {
  const courses = fc.array(fc.oneof(load, load, load, fc.constant(undefined)), {
    minLength: 1,
    maxLength: 400,
  });

  it('keeps the number within its limits, and changes it by one at a time', () => {
    fc.assert(
      fc.property(courses, (totals) => {
        let before = 2;
        for (const { desired } of run(totals)) {
          expect(desired).toBeGreaterThanOrEqual(2);
          expect(desired).toBeLessThanOrEqual(6);
          expect(Math.abs(desired - before)).toBeLessThanOrEqual(1);
          before = desired;
        }
      }),
    );
  });

  it('turns back once at most in a stabilisation time, and never soon after growing', () => {
    // Long stretches of one load, so that both directions are reached.
    const stretches = fc
      .array(fc.tuple(load, fc.integer({ min: 1, max: 90 })), { minLength: 2, maxLength: 12 })
      .map((parts) => parts.flatMap(([total, minutes]) => Array<number>(minutes).fill(total)));
    fc.assert(
      fc.property(fc.oneof(courses, stretches), (totals) => {
        const changes: { direction: number; nowMs: number }[] = [];
        let before = 2;
        for (const { desired, nowMs } of run(totals)) {
          if (desired !== before) changes.push({ direction: desired - before, nowMs });
          before = desired;
        }
        const turns = changes.filter(
          (change, index) => index > 0 && change.direction !== changes[index - 1]?.direction,
        );
        for (const [index, { nowMs }] of turns.entries()) {
          const next = turns[index + 1];
          if (next !== undefined)
            expect(next.nowMs - nowMs).toBeGreaterThanOrEqual(settings.outStabilisationMs);
        }
        for (const [index, { direction, nowMs }] of changes.entries()) {
          const next = changes[index + 1];
          if (direction > 0 && next !== undefined && next.direction < 0) {
            expect(next.nowMs - nowMs).toBeGreaterThanOrEqual(settings.inStabilisationMs);
          }
        }
      }),
    );
  });

  it('does not move at a constant load, once it has settled', () => {
    fc.assert(
      fc.property(load, (total) => {
        const desired = run(Array(600).fill(total)).map((step) => step.desired);
        expect(new Set(desired.slice(300)).size).toBe(1);
      }),
    );
  });

  it('never answers more load with fewer shards', () => {
    const states = fc.record({
      overSinceMs: fc.option(fc.integer({ min: -60, max: 0 }), { nil: undefined }),
      quietSinceMs: fc.option(fc.integer({ min: -60, max: 0 }), { nil: undefined }),
      desired: fc.integer({ min: 2, max: 6 }),
    });
    const values = fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 6, maxLength: 6 });
    fc.assert(
      fc.property(states, values, values, fc.boolean(), ({ desired, ...since }, lower, more, isSettled) => {
        const state: AutoscaleState = {
          base: desired,
          desired,
          ...(since.overSinceMs === undefined ? {} : { overSinceMs: since.overSinceMs * minute }),
          ...(since.quietSinceMs === undefined ? {} : { quietSinceMs: since.quietSinceMs * minute }),
        };
        const decide = (load_: readonly number[]) =>
          decideShards(
            input({
              count: desired,
              shards: shardNames(desired),
              metrics: [cpu(load_.slice(0, desired))],
              state,
              isSettled,
            }),
          ).recommended;
        expect(decide(lower.map((value, index) => value + (more[index] ?? 0)))).toBeGreaterThanOrEqual(
          decide(lower),
        );
      }),
    );
  });
});
