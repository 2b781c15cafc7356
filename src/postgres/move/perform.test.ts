import { expect, it } from 'vitest';
import { withEnd } from './perform.ts';

const context = { move: { from: 's0', to: 's1' } };
const full = { kind: 'refused', reason: 'DiskFull', message: 'No space left' } as const;

it.each([
  ['stage', 'DiskFull', 'failed'],
  ['publish', 'DiskFull', 'failed'],
  ['copy-rows', 'DiskFull', 'failed'],
  ['subscribe', 'DiskFull', 'failed'],
  ['catch-up', 'DiskFull', 'failed'],
  ['index', 'DiskFull', 'failed'],
  ['verify', 'DiskFull', 'failed'],
  ['arm', 'DiskFull', 'failed'],
  ['fence', 'DiskFull', undefined],
  ['unstage', 'DiskFull', undefined],
  ['detach', 'DiskFull', undefined],
  ['copy-rows', 'Refused', 'copy'],
  ['copy-rows', 'CopyBegan', undefined],
  ['index', 'Locked', undefined],
] as const)('step %s that is refused for %s ends in: %s', (kind, reason, ends) => {
  const { ends: found } = withEnd(context, { kind }, { kind: 'refused', reason, message: 'no' });
  expect(found).toBe(ends);
});

it.each([
  [
    'are as large as was asked for',
    undefined,
    undefined,
    /: raise spec.storage.size, and make the move again$/,
  ],
  ['still grow', '10Gi', '10Gi', /: wait until its volume has grown to 10Gi, and make the move again$/],
])('a move that has filled a disk while the volumes %s says what makes room', (_, source, target, words) => {
  const volumeOf = (growsTo: string | undefined) => ({ bytes: 1, ...(growsTo && { growsTo }) });
  const volumes = { source: volumeOf(source), target: volumeOf(target) };
  expect(withEnd({ ...context, volumes }, { kind: 'copy-rows' }, full).message).toMatch(words);
});
