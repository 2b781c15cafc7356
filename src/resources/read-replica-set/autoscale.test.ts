import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readReplicaSetSpec } from '../../api/v1alpha1/read-replica-set.ts';
import { type AutoscaleInput, type AutoscalingSpec, autoscale, type MetricType } from './autoscale.ts';

function spec(fields: Record<string, unknown> = {}): AutoscalingSpec {
  const parsed = readReplicaSetSpec.parse({
    cluster: 'shop',
    autoscaling: { maxReplicas: 5, metrics: [{ type: 'Connections', target: 100 }], ...fields },
  });
  return parsed.autoscaling as AutoscalingSpec;
}

const start = Date.parse('2026-01-01T00:00:00Z');

function at(seconds: number): Date {
  return new Date(start + seconds * 1_000);
}

function text(seconds: number): string {
  return at(seconds).toISOString().replace('.000Z', 'Z');
}

function input(fields: Partial<AutoscaleInput> & { load?: number }): AutoscaleInput {
  const { load = 100, ...rest } = fields;
  return {
    spec: spec(),
    current: 2,
    ready: 2,
    measured: new Map([['Connections', load]]),
    brake: { up: undefined, down: undefined },
    last: undefined,
    now: at(10_000),
    ...rest,
  };
}

const copying = { up: 'a copy is under way', down: 'a copy is under way' };
const noRoom = { up: 'shard s0 has room for 2 members', down: undefined };

describe('a decision', () => {
  test.each<{ what: string; given: Parameters<typeof input>[0]; desired: number; held?: RegExp }>([
    { what: 'stays at the target', given: {}, desired: 2 },
    { what: 'stays within a tenth of it', given: { load: 109 }, desired: 2 },
    { what: 'goes up by one, however high the load', given: { load: 900 }, desired: 3 },
    { what: 'stays at the most', given: { load: 900, current: 5, ready: 5 }, desired: 5 },
    {
      what: 'goes up once in a window',
      given: { load: 200, last: { lastScaleTime: text(9_800) } },
      desired: 2,
      held: /less than 300s ago/,
    },
    {
      what: 'goes up again after it',
      given: { load: 200, last: { lastScaleTime: text(9_700) } },
      desired: 3,
    },
    { what: 'waits when it gets quiet', given: { load: 10 }, desired: 2, held: /low for less than 1800s/ },
    {
      what: 'waits while it has not been quiet for long',
      given: { load: 10, last: { quietSince: text(8_300) } },
      desired: 2,
      held: /low for/,
    },
    {
      what: 'goes down after a long quiet time',
      given: { load: 10, last: { quietSince: text(8_200) } },
      desired: 1,
    },
    {
      what: 'goes down once in a window',
      given: { load: 10, last: { quietSince: text(8_000), lastScaleTime: text(9_500) } },
      desired: 2,
      held: /less than 600s ago/,
    },
    {
      what: 'is held by a brake',
      given: { load: 900, brake: copying },
      desired: 2,
      held: /copy/,
    },
    {
      what: 'goes down past what holds only a step up',
      given: { load: 10, brake: noRoom, last: { quietSince: text(0) } },
      desired: 1,
    },
    { what: 'is held by it upwards', given: { load: 900, brake: noRoom }, desired: 2, held: /room for 2/ },
    {
      what: 'is held without a measure',
      given: { measured: new Map([['Connections', 'nobody answers']]) },
      desired: 2,
      held: /no measure of Connections/,
    },
    { what: 'goes into the bounds at once', given: { current: 9, brake: copying }, desired: 5 },
  ])('$what', ({ given, desired, held }) => {
    const decision = autoscale(input(given));
    expect(decision.desired).toBe(desired);
    if (held === undefined) expect(decision.heldBy).toBeUndefined();
    else expect(decision.heldBy).toMatch(held);
  });

  test('waits from now on, and not until then, when a clock was set back', () => {
    const last = { lastScaleTime: text(99_000), quietSince: text(98_000) };
    expect(autoscale(input({ load: 10, last }))).toMatchObject({
      lastScaleTime: text(10_000),
      quietSince: text(10_000),
    });
  });

  test('is that of the metric that asks for the most', () => {
    const both = spec({
      metrics: [
        { type: 'Connections', target: 100 },
        { type: 'QPS', target: 10 },
      ],
    });
    const measured = new Map<MetricType, number | string>([
      ['Connections', 20],
      ['QPS', 25],
    ]);
    const decision = autoscale(input({ spec: both, measured }));
    expect(decision).toMatchObject({
      desired: 3,
      proposed: 5,
      chosen: 'QPS',
      message: expect.stringContaining('QPS (25 of 10)'),
    });
    expect(decision.metrics.map(({ proposed }) => proposed)).toEqual([1, 5]);
  });

  test('is held when one of several measures is missing, even if another asks for less', () => {
    const both = spec({
      metrics: [
        { type: 'Connections', target: 100 },
        { type: 'CPU', target: 80 },
      ],
    });
    const decision = autoscale(input({ spec: both, load: 10, last: { quietSince: text(0) } }));
    expect(decision).toMatchObject({ desired: 2, heldBy: 'no measure of CPU' });
  });
});

interface Step {
  readonly load: number | undefined;
  readonly isBraked: boolean;
}

const stepSeconds = 15;
const late = { up: 'members are late', down: 'members are late' };
const trace = fc
  .array(
    fc.record({
      load: fc.option(fc.integer({ min: 0, max: 1_500 }), { nil: undefined }),
      isBraked: fc.boolean(),
      times: fc.integer({ min: 1, max: 200 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((blocks) => blocks.flatMap(({ times, ...step }): Step[] => Array.from({ length: times }, () => step)));

/** Two traces, of which the second never has less load; what is braked or not measured is so in both. */
const orderedTraces = fc
  .array(
    fc.record({
      load: fc.option(fc.integer({ min: 0, max: 800 }), { nil: undefined }),
      more: fc.integer({ min: 0, max: 400 }),
      isBraked: fc.boolean(),
      times: fc.integer({ min: 1, max: 200 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((blocks) => {
    const traceOf = (withMore: boolean) =>
      blocks.flatMap(({ load, more, isBraked, times }): Step[] =>
        Array.from({ length: times }, () => ({
          load: load === undefined ? undefined : load + (withMore ? more : 0),
          isBraked,
        })),
      );
    return [traceOf(false), traceOf(true)] as const;
  });

const bounds = fc
  .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 6 }))
  .map(([minReplicas, more]) => ({ minReplicas, maxReplicas: minReplicas + more }));
const windows = fc.record({
  scaleUpWindow: fc.constantFrom('15s', '60s', '300s'),
  scaleDownWindow: fc.constantFrom('15s', '60s', '600s'),
  quietBeforeScaleDown: fc.constantFrom('0s', '60s', '1800s'),
});

/** Plays a trace of total load, which is spread over the members; answers how many there were at each step. */
function play(steps: readonly Step[], scaled: AutoscalingSpec = spec()): number[] {
  let current = 2;
  let last: AutoscaleInput['last'];
  return steps.map(({ load, isBraked }, index) => {
    const decision = autoscale(
      input({
        spec: scaled,
        current,
        ready: current,
        measured: new Map([['Connections', load === undefined ? 'nobody answers' : load / current]]),
        brake: isBraked ? late : { up: undefined, down: undefined },
        last,
        now: at(index * stepSeconds),
      }),
    );
    current = decision.desired;
    last = decision;
    return current;
  });
}

describe('over any trace of load', () => {
  test('it stays within its bounds, and goes by single steps', () => {
    fc.assert(
      fc.property(trace, (steps) => {
        const counts = [2, ...play(steps)];
        expect(counts.filter((count) => count < 1 || count > 5)).toEqual([]);
        expect(counts.filter((count, index) => Math.abs(count - (counts[index - 1] ?? count)) > 1)).toEqual(
          [],
        );
      }),
    );
  });

  test('whatever the bounds are, it goes into them at once and never leaves them', () => {
    fc.assert(
      fc.property(trace, bounds, windows, (steps, { minReplicas, maxReplicas }, behavior) => {
        const counts = play(steps, spec({ minReplicas, maxReplicas, behavior }));
        expect(counts.filter((count) => count < minReplicas || count > maxReplicas)).toEqual([]);
      }),
    );
  });

  test('it turns back at most once in a window', () => {
    fc.assert(
      fc.property(trace, windows, (steps, behavior) => {
        const counts = [2, ...play(steps, spec({ behavior }))];
        const windowSeconds = Number.parseInt(behavior.scaleUpWindow, 10);
        const changes = counts.flatMap((count, index) => {
          const change = count - (counts[index - 1] ?? count);
          return change === 0 ? [] : [{ change, atSeconds: index * stepSeconds }];
        });
        const reversals = changes.filter(
          ({ change }, index) => index > 0 && changes[index - 1]?.change !== change,
        );
        for (const [index, { atSeconds }] of reversals.entries()) {
          const before = reversals[index - 1];
          if (before !== undefined)
            expect(atSeconds - before.atSeconds).toBeGreaterThanOrEqual(windowSeconds);
        }
      }),
    );
  });

  test('nothing changes while a brake holds or nothing is measured', () => {
    fc.assert(
      fc.property(trace, (steps) => {
        const counts = [2, ...play(steps)];
        const changed = steps.filter(
          ({ load, isBraked }, index) =>
            (isBraked || load === undefined) && counts[index + 1] !== counts[index],
        );
        expect(changed).toEqual([]);
      }),
    );
  });

  test('more load never leads to fewer members', () => {
    const anyState = fc.record({
      current: fc.integer({ min: 1, max: 5 }),
      sinceScale: fc.option(fc.integer({ min: 0, max: 4_000 }), { nil: undefined }),
      sinceQuiet: fc.option(fc.integer({ min: 0, max: 4_000 }), { nil: undefined }),
    });
    const loads = fc.tuple(fc.integer({ min: 0, max: 1_000 }), fc.integer({ min: 0, max: 1_000 }));
    fc.assert(
      fc.property(anyState, loads, ({ current, sinceScale, sinceQuiet }, [a, b]) => {
        const last = {
          ...(sinceScale === undefined ? {} : { lastScaleTime: text(10_000 - sinceScale) }),
          ...(sinceQuiet === undefined ? {} : { quietSince: text(10_000 - sinceQuiet) }),
        };
        const decide = (load: number) => autoscale(input({ current, ready: current, load, last })).desired;
        expect(decide(Math.max(a, b))).toBeGreaterThanOrEqual(decide(Math.min(a, b)));
      }),
    );
  });

  test('more load all along never leads to fewer members at any time, where no window holds a step', () => {
    const atOnce = spec({
      behavior: { scaleUpWindow: '0s', scaleDownWindow: '0s', quietBeforeScaleDown: '0s' },
    });
    fc.assert(
      fc.property(orderedTraces, ([less, more]) => {
        const few = play(less, atOnce);
        const many = play(more, atOnce);
        expect(many.filter((count, index) => count < (few[index] ?? 0))).toEqual([]);
      }),
    );
  });

  // With windows it may: of two that want another member at the same time, one that has only just taken one away waits. And one that
  // had more members was quiet sooner, so that it takes the second away before one that has had as few all along.
  test('more load all along leads to fewer members than less only within a window of a change', () => {
    fc.assert(
      fc.property(orderedTraces, windows, ([less, more], behavior) => {
        const few = [2, ...play(less, spec({ behavior }))];
        const many = [2, ...play(more, spec({ behavior }))];
        const windowSeconds = Math.max(
          Number.parseInt(behavior.scaleUpWindow, 10),
          Number.parseInt(behavior.scaleDownWindow, 10),
          Number.parseInt(behavior.quietBeforeScaleDown, 10),
        );
        let changedAt = Number.NEGATIVE_INFINITY;
        for (let index = 1; index < many.length; index += 1) {
          const isBelow = (step: number) => (many[step] ?? 0) < (few[step] ?? 0);
          if (isBelow(index) && !isBelow(index - 1))
            expect((index - changedAt) * stepSeconds).toBeLessThan(windowSeconds);
          if (many[index] !== many[index - 1] || few[index] !== few[index - 1]) changedAt = index;
        }
      }),
    );
  });
});
