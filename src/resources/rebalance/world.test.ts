import { expect, it } from 'vitest';
import { sketchView, start } from './sketch.ts';
import { worldOf } from './world.ts';

it('the rate of moves is that of the last ones, in whatever order they are read', () => {
  const moved = (hoursAgo: number, bytesPerSecond: number) => ({
    name: `m-${hoursAgo}`,
    group: 'customer',
    buckets: [],
    isRunning: false,
    movedAtMs: start.getTime() - hoursAgo * 3_600_000,
    bytesPerSecond,
  });
  const hours = Array.from({ length: 20 }, (_, index) => index + 1);
  const moves = [
    ...hours.map((hoursAgo) => moved(hoursAgo, 50)),
    ...hours.map((hoursAgo) => moved(24 + hoursAgo, 10)),
  ];
  expect(worldOf(sketchView({}, { moves })).bytesPerSecond).toBe(50);
});

it('a shard has room for what its volume can take beside all that the server has there', () => {
  const view = sketchView();
  const measure = view.measurements.latest.get('s0');
  if (measure === undefined) throw new Error('s0 is not measured');
  const stats = { ...measure.stats, databaseBytes: 0, usedBytes: 2.5 * 2 ** 30 };
  const latest = new Map(view.measurements.latest).set('s0', { ...measure, stats });
  const { shards } = worldOf({ ...view, measurements: { ...view.measurements, latest } });
  // Nine of ten GiB may be filled, and what comes needs 1.3 times its size.
  expect(shards[0]).toMatchObject({ name: 's0', freeBytes: 5 * 2 ** 30 });
});
