import { expect, test } from 'vitest';
import type { PlanInput, Stray } from '../model.ts';
import { sketchShard } from '../test-support/sketch-shard.ts';
import { strays } from './strays.ts';

test.each<[string, Omit<Stray, 'name'>, string[]]>([
  ['that stands still for a moment is left alone', { forMs: 60_000, isLost: false }, []],
  ['that stands still is restarted', { forMs: 120_000, isLost: false }, ['restart shop-s0-1']],
  [
    'that needs WAL which is gone is copied anew',
    { forMs: 30_000, isLost: true },
    ['reinitialize shop-s0-1'],
  ],
])('a standby %s', (_, stray, expected) => {
  const shard = { ...sketchShard([{}, {}]), strays: [{ name: 'shop-s0-1', ...stray }] };
  const result = strays({ observed: { shards: [shard] } } as unknown as PlanInput);
  expect(result.kind).toBe('continue');
  const done = (result.actions ?? []).flatMap((action) =>
    'member' in action ? [`${action.kind} ${action.member}`] : [],
  );
  expect(done).toEqual(expected);
});
