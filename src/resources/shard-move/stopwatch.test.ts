import { expect, it } from 'vitest';
import {
  firstRecord,
  type MoveView,
  type ShardFacts,
  type Step,
  type StepResult,
} from '../../sharding/move/model.ts';
import { gidOf } from '../../sharding/move/names.ts';
import { createStopwatch } from './stopwatch.ts';

const done: StepResult = { kind: 'done' };

/** What was seen before a step, as far as a stopwatch looks. */
const seen = (source: MoveView['source']) => ({ source, record: firstRecord }) as MoveView;
const nothingSeen = seen('unknown');

/** A stopwatch whose clock goes on by what each step took. */
function watch() {
  let ms = 0;
  const clock = { now: () => new Date(ms), monotonicMs: () => ms };
  const stopwatch = createStopwatch(clock, 'full');
  return {
    stopwatch,
    step(kind: Step['kind'], tookMs: number, result: StepResult | 'unknown' = done, view = nothingSeen) {
      ms += tookMs;
      stopwatch.note({ kind } as Step, result, tookMs, view);
    },
  };
}

it('measures from the fence to the commit on the target, in the switch that succeeds', () => {
  const { stopwatch, step } = watch();
  step('verify', 30, { kind: 'done', verifiedRows: 7 });
  step('fence', 5);
  step('drain', 100, { kind: 'refused', reason: 'NotDrained', message: '' });
  step('roll-back-source', 3);
  for (const kind of ['fence', 'drain', 'open', 'gate', 'decide', 'commit-target', 'commit-source'] as const)
    step(kind, 2);
  const { fenceMs, steps, verification } = stopwatch.findings();
  expect(fenceMs).toBe(12);
  expect(verification).toEqual({ compared: 'full', rows: 7, tookMs: 30 });
  expect(steps?.map(({ name, tookMs }) => `${name} ${tookMs}`)).toEqual([
    ...['fence 2', 'drain 2', 'open 2', 'gate 2', 'decide 2', 'commit-target 2', 'commit-source 2'],
  ]);
  expect(steps?.[0]?.startedAt).toBe(new Date(138).toISOString());
});

it('measures from the date of a fence that another process made', () => {
  const { stopwatch, step } = watch();
  const gid = gidOf({ id: '0123abcd', attempt: 1, epoch: 7, side: 'fence' });
  const source = { prepared: [{ gid, since: 10 }] } as unknown as ShardFacts;
  step('decide', 30, done, seen(source));
  step('commit-target', 5, 'unknown', seen(source));
  expect(stopwatch.findings().fenceMs).toBeUndefined();
  step('commit-source', 5, done, seen(source));
  expect(stopwatch.findings().fenceMs).toBe(30);
});

it('tells of no fence that nobody has seen', () => {
  const { stopwatch, step } = watch();
  step('commit-target', 2);
  expect(stopwatch.findings()).toEqual({});
});
