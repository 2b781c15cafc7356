import { expect, it } from 'vitest';
import { createManualClock } from '../../../test/support/manual-clock.ts';
import { progressOf, watchSteps, withProgress } from './progress.ts';

it.each([
  [{ bytes: 0, total: 0, rows: 0 }, 10, { percent: 100, bytesPerSecond: 0 }],
  [{ bytes: 0, total: 100, rows: 0 }, 1_000, { percent: 0, bytesPerSecond: 0 }],
  [{ bytes: 50, total: 200, rows: 7 }, 2_000, { percent: 25, rows: 7, bytesPerSecond: 25, etaSeconds: 6 }],
  [{ bytes: 200, total: 200, rows: 9 }, 0, { percent: 100, etaSeconds: 0 }],
])('%o after %i ms', (progress, tookMs, expected) => {
  expect(progressOf(progress, tookMs)).toMatchObject(expected);
});

it('that nobody can say without a rate has no ETA', () => {
  expect(progressOf({ bytes: 0, total: 100, rows: 0 }, 1_000)).not.toHaveProperty('etaSeconds');
});

it('is told of while it goes on, and at its end', async () => {
  const clock = createManualClock();
  const told: unknown[] = [];
  const watch = watchSteps(clock, async (progress) => {
    told.push(progress);
    return true;
  });
  await watch.during(async () => {
    watch.note({ bytes: 10, total: 30, rows: 1 });
    clock.advance(3_000);
    await expect.poll(() => clock.timersSet).toBe(2);
    watch.note({ bytes: 20, total: 30, rows: 2 });
    clock.advance(3_000);
    watch.note({ bytes: 30, total: 30, rows: 3 });
  });
  expect(told).toMatchObject([{ copiedBytes: 10 }, { copiedBytes: 20 }, { copiedBytes: 30 }]);
  expect(clock.timers).toBe(0);
});

it('is that of a copy which waits for older transactions only while it does', async () => {
  const clock = createManualClock();
  const told: unknown[] = [];
  const watch = watchSteps(clock, async (progress) => {
    told.push(progress);
    return true;
  });
  await watch.during(async () => {
    clock.advance(3_000);
    await expect.poll(() => clock.timersSet).toBe(2);
    watch.noteWait(true);
    clock.advance(3_000);
    await expect.poll(() => clock.timersSet).toBe(3);
    watch.noteWait(false);
    clock.advance(3_000);
    await expect.poll(() => told).toHaveLength(3);
  });
  expect(told).toEqual([undefined, 'older-transactions', undefined]);
});

it('is told by the status, which tells of older transactions only while the copy waits for them', () => {
  const before = { phase: 'copy' as const, from: 's1' };
  const waits = withProgress(before, 'older-transactions');
  expect(waits).toEqual({ ...before, message: expect.stringMatching(/^OlderTransactions: .* on shard s1 /) });
  expect(withProgress(waits, 'older-transactions')).toBe(waits);
  expect(withProgress(waits, undefined)).toEqual(before);
  const progress = progressOf({ bytes: 10, total: 30, rows: 1 }, 1_000);
  expect(withProgress(waits, progress)).toEqual({ ...before, progress });
  const paused = { ...before, message: 'Paused: before fence' };
  expect(withProgress(paused, undefined)).toBe(paused);
});

it('of a step without a copy is how far the stream is behind, where one goes on', async () => {
  const clock = createManualClock();
  const told: unknown[] = [];
  const watch = watchSteps(clock, async (progress) => {
    told.push(progress);
    return true;
  });
  const lags = [7, undefined];
  const ask = async () => {
    if (lags.length === 0) throw new Error('the source does not answer');
    return lags.shift();
  };
  await watch.during(async () => {
    for (const timers of [2, 3, 4]) {
      clock.advance(3_000);
      await expect.poll(() => clock.timersSet).toBe(timers);
    }
  }, ask);
  await watch.during(async () => {
    clock.advance(3_000);
    await expect.poll(() => told).toHaveLength(4);
  });
  expect(told).toEqual([{ lagBytes: 7 }, undefined, undefined, undefined]);
  const status = { phase: 'index' as const, from: 's1', lagBytes: 5 };
  expect(withProgress(status, { lagBytes: 7 })).toEqual({ ...status, lagBytes: 7 });
  expect(withProgress(status, { lagBytes: 5 })).toBe(status);
});

it('that nobody wants any more is aborted', async () => {
  const clock = createManualClock();
  const watch = watchSteps(clock, async () => false);
  await watch.during(async () => {
    watch.note({ bytes: 10, total: 30, rows: 1 });
    clock.advance(3_000);
    await expect.poll(() => watch.signal.aborted).toBe(true);
  });
});

it('is asked about without progress, too: whether anybody wants it, but nothing is told at its end', async () => {
  const clock = createManualClock();
  const told: unknown[] = [];
  const watch = watchSteps(clock, async (progress) => {
    told.push(progress);
    return told.length < 2;
  });
  await watch.during(async () => {
    clock.advance(3_000);
    await expect.poll(() => clock.timersSet).toBe(2);
    expect(watch.signal.aborted).toBe(false);
    clock.advance(3_000);
    await expect.poll(() => watch.signal.aborted).toBe(true);
  });
  expect(told).toEqual([undefined, undefined]);
});

it('whose progress cannot be told goes on', async () => {
  const clock = createManualClock();
  const watch = watchSteps(clock, () => Promise.reject(new Error('no answer')));
  expect(
    await watch.during(async () => {
      watch.note({ bytes: 10, total: 30, rows: 1 });
      return 'done';
    }),
  ).toBe('done');
  expect(watch.signal.aborted).toBe(false);
});
