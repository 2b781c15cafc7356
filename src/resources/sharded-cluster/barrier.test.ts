import { describe, expect, it } from 'vitest';
import { BrokenBarrier, createBarrier } from './barrier.ts';

/** Whether a promise is settled once everything that can run has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = () => {
    settled = true;
  };
  promise.then(note, note);
  await new Promise((resolve) => setImmediate(resolve));
  return settled;
}

describe('a barrier', () => {
  it('lets nobody go on before all have arrived or passed', async () => {
    const barrier = createBarrier(3);
    const first = barrier.arrive();
    barrier.pass();
    expect(await isSettled(first)).toBe(false);
    await Promise.all([first, barrier.arrive()]);
  });

  it('lets a single party go on at once', async () => {
    await createBarrier(1).arrive();
  });

  it('turns everybody back when one gives up, those who wait and those who come', async () => {
    const barrier = createBarrier(3);
    const waiting = barrier.arrive();
    barrier.break(new Error('syntax error'));
    await expect(waiting).rejects.toThrow(BrokenBarrier);
    await expect(barrier.arrive()).rejects.toMatchObject({ cause: { message: 'syntax error' } });
  });

  it('cannot be broken when all have gone on', async () => {
    const barrier = createBarrier(2);
    const both = [barrier.arrive(), barrier.arrive()];
    barrier.break(new Error('too late'));
    await expect(Promise.all(both)).resolves.toHaveLength(2);
  });
});
