import { expect, test } from 'vitest';
import { beginWork, type WorkMemory, workOf } from './member-work.ts';

const work = (memory: WorkMemory, nowMs: number) => [...workOf(memory, 'uid', nowMs)];

test('work that hangs is begun once, and nobody waits for it', async () => {
  const memory: WorkMemory = new Map();
  const { promise, resolve } = Promise.withResolvers<void>();
  let begun = 0;
  const begin = () =>
    beginWork(
      memory,
      'uid',
      'restart',
      () => 100,
      () => {
        begun += 1;
        return promise;
      },
    );
  begin();
  begin();
  expect(begun).toBe(1);
  expect(work(memory, 60_000)).toMatchObject([['restart', { state: 'running' }]]);
  expect([...workOf(memory, 'another', 0)]).toEqual([]);
  resolve();
  await promise;
  expect(work(memory, 3_099)).toMatchObject([['restart', { state: 'done' }]]);
  expect(work(memory, 3_100)).toEqual([]);
  begin();
  expect(begun).toBe(2);
});

test('work that failed is told for a while, and then begun again', async () => {
  const memory: WorkMemory = new Map();
  beginWork(
    memory,
    'uid',
    'reload',
    () => 0,
    () => Promise.reject(new Error('no answer from Patroni')),
  );
  await Promise.resolve();
  expect(work(memory, 2_999)).toMatchObject([
    ['reload', { state: 'failed', message: 'no answer from Patroni' }],
  ]);
  expect(work(memory, 3_000)).toEqual([]);
});
