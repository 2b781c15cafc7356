import { expect, it } from 'vitest';
import { createPace } from './pace.ts';

/** A pace on a clock that waiting moves on. */
function pace(bytesPerSecond: number) {
  let now = 0;
  const waits: number[] = [];
  const made = createPace(
    bytesPerSecond,
    () => now,
    async (ms) => {
      waits.push(Math.round(ms));
      now += ms;
    },
  );
  const sleep = (ms: number) => {
    now += ms;
  };
  return { made, waits, sleep, now: () => now };
}

it('a pace lets no more bytes pass than its rate', async () => {
  const { made, now } = pace(1_000);
  for (let count = 0; count < 50; count += 1) await made.take(100);
  expect(now()).toBeGreaterThanOrEqual(4_900);
  expect(now()).toBeLessThanOrEqual(5_000);
});

it('a pace does not make up for a long rest', async () => {
  const { made, waits, sleep } = pace(1_000);
  sleep(60_000);
  await made.take(1_000);
  expect(waits).toEqual([900]);
});
