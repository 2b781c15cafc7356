import fc from 'fast-check';
import { expect, it } from 'vitest';
import { freeRoom, mebibytes, neededRoom } from './room.ts';

const mebibyte = 2 ** 20;

it.each([
  [0, '0 MiB', '0 MiB'],
  [1, '16 MiB', '0 MiB'],
  [300, '304 MiB', '288 MiB'],
  [1_000, '1008 MiB', '992 MiB'],
  [10_000, '10240 MiB', '9984 MiB'],
])('%d MiB are told as %s where they are needed, and as %s where they are free', (size, needed, free) => {
  expect(neededRoom(size * mebibyte)).toBe(needed);
  expect(freeRoom(size * mebibyte)).toBe(free);
});

it('what is needed is never told as less, nor what is free as more, and neither by more than a segment of WAL or 4 %', () => {
  const size = fc.integer({ min: 0, max: 1_000_000 }).map((count) => count * mebibyte);
  fc.assert(
    fc.property(size, (bytes) => {
      const [needed, exact, free] = [neededRoom(bytes), mebibytes(bytes), freeRoom(bytes)].map((text) =>
        Number.parseInt(text, 10),
      ) as [number, number, number];
      expect(needed).toBeGreaterThanOrEqual(exact);
      expect(free).toBeLessThanOrEqual(exact);
      const step = Math.max(16, 0.04 * exact);
      expect(needed - exact).toBeLessThan(step);
      expect(exact - free).toBeLessThan(step);
    }),
  );
});
