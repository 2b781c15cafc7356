import { expect, it } from 'vitest';
import { diskObstacle } from './preflight.ts';

const mb = 1e6;

it('a move for which the target has room is begun', () => {
  expect(diskObstacle('s1', 100 * mb, 700 * mb, 1_000 * mb)).toBeUndefined();
});

it('a move for which the target is too small waits, and says how much it needs', () => {
  expect(diskObstacle('s1', 200 * mb, 700 * mb, 1_000 * mb)).toEqual({
    code: 'DiskTooSmall',
    permanent: false,
    message:
      'shard s1 has 300 MB of 1000 MB free, and the move needs 360 MB (1.3 times what moves, and a tenth of the volume): ' +
      'raise spec.storage.size, or move less',
  });
});

it('a volume that holds more than it should has nothing free', () => {
  expect(diskObstacle('s1', 0, 1_200 * mb, 1_000 * mb)).toMatchObject({
    message: expect.stringContaining('has 0 MB of 1000 MB free'),
  });
});
