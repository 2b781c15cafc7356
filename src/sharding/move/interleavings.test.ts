import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Happening, type Mutation, play } from '../../../test/support/move-schedule.ts';

/** Histories that are played; more by `MOVE_RUNS=20000`. */
const runs = Number(process.env.MOVE_RUNS ?? 400);

const operation = fc.constantFrom('move' as const, 'split' as const, 'merge' as const);
const operator = fc.nat({ max: 1 });
const happening: fc.Arbitrary<Happening> = fc.oneof(
  {
    weight: 16,
    arbitrary: fc.record({ kind: fc.constant('run'), operator, turns: fc.integer({ min: 1, max: 30 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash'), operator }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('write', 'replicate') }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('flush', 'busy', 'hold', 'pause', 'lose-slot') }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel') }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('fail-over'),
      side: fc.constantFrom('source', 'target'),
      losesSlots: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lose-answer'), operator }) },
) as fc.Arbitrary<Happening>;

const anything = fc.array(happening, { minLength: 10, maxLength: 60 });

/** One operator has an old view, the other is somewhere in the switch, and something happens that matters there. */
const inTheSwitch = fc
  .tuple(
    fc.nat({ max: 8 }),
    fc.integer({ min: 24, max: 104 }),
    fc.array(
      fc.oneof({ weight: 5, arbitrary: fc.constantFrom({ kind: 'cancel' }, { kind: 'pause' }) }, happening),
      {
        maxLength: 3,
      },
    ),
    fc.array(
      fc.oneof(
        {
          weight: 8,
          arbitrary: fc.record({
            kind: fc.constant('run'),
            operator,
            turns: fc.integer({ min: 1, max: 12 }),
          }),
        },
        { weight: 2, arbitrary: happening },
      ),
      { maxLength: 30 },
    ),
  )
  .map(([late, turns, first, rest]) => [
    { kind: 'write' },
    { kind: 'run', operator: 1, turns: late },
    { kind: 'run', operator: 0, turns: 38 },
    { kind: 'replicate' },
    { kind: 'write' },
    { kind: 'run', operator: 0, turns },
    ...first,
    ...rest,
  ]) as fc.Arbitrary<Happening[]>;

/** The second operator goes on where the first one stopped, and then a standby takes over. */
const takenOver = fc
  .tuple(
    fc.integer({ min: 24, max: 104 }),
    fc.integer({ min: 1, max: 20 }),
    fc.constantFrom('source', 'target'),
  )
  .map(([first, second, side]) => [
    { kind: 'run', operator: 0, turns: 38 },
    { kind: 'replicate' },
    { kind: 'write' },
    { kind: 'run', operator: 0, turns: first },
    { kind: 'run', operator: 1, turns: second },
    { kind: 'fail-over', side, losesSlots: false },
  ]) as fc.Arbitrary<Happening[]>;

/** The second operator takes back what the first one is about to finish. */
const cancelled = fc
  .tuple(fc.integer({ min: 50, max: 100 }), fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 8 }))
  .map(([first, turns]) => [
    { kind: 'run', operator: 0, turns: 38 },
    { kind: 'replicate' },
    { kind: 'write' },
    { kind: 'run', operator: 0, turns: first },
    { kind: 'cancel' },
    ...turns.map((count, index) => ({ kind: 'run', operator: (index + 1) % 2, turns: count })),
  ]) as fc.Arbitrary<Happening[]>;

const histories = fc.oneof(anything, inTheSwitch, takenOver, cancelled);

describe('two operators, crashes, failovers and lost answers', () => {
  it('never make two owners, lose or double a row, or leave anything behind', async () => {
    await fc.assert(
      fc.asyncProperty(histories, operation, async (history, asked) => {
        expect(await play(history, undefined, asked)).toBeUndefined();
      }),
      { numRuns: runs },
    );
  }, 600_000);

  it.each(['move', 'split', 'merge'] as const)('finish a %s when nothing happens', async (asked) => {
    expect(await play([], undefined, asked)).toBeUndefined();
  });
});

/** Rules of the protocol, each broken in one way; the property above has to notice every one. */
const brokenRules: readonly [string, fc.Arbitrary<Happening[]>, Mutation][] = [
  [
    'prepared transactions are rolled back before the announcement is taken back',
    inTheSwitch,
    (world, model) => ({
      ...world,
      map: {
        ...world.map,
        async replace(version, value) {
          const before = model.bucket;
          const after = value.groups[0]?.buckets[0];
          const isAbort =
            before?.pending !== undefined && after?.pending === undefined && after?.shard === 's0';
          if (isAbort) {
            for (const side of [model.source, model.target]) {
              side.state.prepared = [];
              side.flush();
            }
          }
          return world.map.replace(version, value);
        },
      },
    }),
  ],
  [
    'a lost slot is made again under a running copy',
    inTheSwitch,
    (world, model) => ({
      ...world,
      async observe(side, move) {
        const { source, target } = model;
        for (const { name } of target.state.subscriptions) {
          if (source.state.slots.some((slot) => slot.name === name)) continue;
          source.state.slots.push({ name, position: source.state.rows.length });
        }
        return world.observe(side, move);
      },
    }),
  ],
  [
    'what a failover may take away is not waited for',
    takenOver,
    (world) => ({
      ...world,
      perform: async (move, step, view) =>
        step.kind === 'gate' ? { kind: 'done' } : world.perform(move, step, view),
    }),
  ],
  [
    'the target is opened before it has all rows',
    inTheSwitch,
    (world) => ({
      ...world,
      perform: async (move, step, view) =>
        step.kind === 'drain' ? { kind: 'done' } : world.perform(move, step, view),
    }),
  ],
  [
    'the target is committed before the map has changed',
    inTheSwitch,
    (world) => ({
      ...world,
      async perform(move, step, view) {
        const result = await world.perform(move, step, view);
        if (step.kind !== 'gate' || result.kind !== 'done') return result;
        await world.perform(move, { kind: 'commit-target', gid: step.open }, view);
        return result;
      },
    }),
  ],
  [
    'the map is changed whatever its version is',
    inTheSwitch,
    (world, model) => ({
      ...world,
      map: {
        ...world.map,
        async replace(_, value) {
          await world.map.read();
          const version = String(model.map.length + 1);
          model.map.push({ version, value });
          return { version };
        },
      },
    }),
  ],
  [
    'a failover of the target under a copy goes unnoticed',
    takenOver,
    (world, model) => ({
      ...world,
      observe: async (side, move) => ({ ...(await world.observe(side, move)), timeline: 1 }),
      perform: (move, step, view) => {
        const timelines = { source: model.source.state.timeline, target: model.target.state.timeline };
        return world.perform(move, step, { ...view, record: { ...view.record, timelines } });
      },
    }),
  ],
];

describe('the property notices that', () => {
  it.each(brokenRules)(
    '%s',
    async (_, aimed, mutation) => {
      const problems: string[] = [];
      const noticed = fc.asyncProperty(aimed, operation, async (history, asked) => {
        const problem = await play(history, mutation, asked);
        if (problem === undefined) return true;
        problems.push(problem);
        return false;
      });
      const found = await fc.check(noticed, { numRuns: 5_000, seed: 17, endOnFailure: true });
      expect(found.failed).toBe(true);
      expect(problems.at(-1)).toMatch(/^two shards accept writes|^lost|^doubled|accepts writes$/);
    },
    120_000,
  );
});
