import { expect, it } from 'vitest';
import { withEnd } from './perform.ts';

const move = { from: 's0', to: 's1' };

it.each([
  ['stage', 'DiskFull', 'failed'],
  ['publish', 'DiskFull', 'failed'],
  ['copy-rows', 'DiskFull', 'failed'],
  ['subscribe', 'DiskFull', 'failed'],
  ['catch-up', 'DiskFull', 'failed'],
  ['index', 'DiskFull', 'failed'],
  ['verify', 'DiskFull', 'failed'],
  ['arm', 'DiskFull', undefined],
  ['fence', 'DiskFull', undefined],
  ['unstage', 'DiskFull', undefined],
  ['detach', 'DiskFull', undefined],
  ['copy-rows', 'Refused', 'copy'],
  ['copy-rows', 'CopyBegan', undefined],
  ['index', 'Locked', undefined],
] as const)('step %s that is refused for %s ends in: %s', (kind, reason, ends) => {
  const { ends: found } = withEnd(move, { kind }, { kind: 'refused', reason, message: 'no' });
  expect(found).toBe(ends);
});
