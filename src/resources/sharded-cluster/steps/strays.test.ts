import { expect, test } from 'vitest';
import type { PlanInput, Stray } from '../model.ts';
import { type MemberSketch, sketchShard } from '../test-support/sketch-shard.ts';
import { strays } from './strays.ts';

/** What is done about standbys of a shard of three. */
function done(found: readonly Stray[], third: MemberSketch = {}): string[] {
  const shard = { ...sketchShard([{}, {}, third]), strays: found };
  const result = strays({ observed: { shards: [shard] } } as unknown as PlanInput);
  expect(result.kind).toBe('continue');
  return (result.actions ?? []).flatMap((action) =>
    'member' in action ? [`${action.kind} ${action.member}`] : [],
  );
}

const still = { name: 'shop-s0-1', forMs: 120_000, isLost: false };
const lost = { name: 'shop-s0-2', forMs: 30_000, isLost: true };

test.each<[string, Stray, string[]]>([
  ['that stands still for a moment is left alone', { ...still, forMs: 60_000 }, []],
  ['that stands still is restarted', still, ['restart shop-s0-1']],
  ['that needs WAL which is gone is copied anew', lost, ['reinitialize shop-s0-2']],
])('a standby %s', (_, stray, expected) => {
  expect(done([stray])).toEqual(expected);
});

test('one is brought back at a time, and none while another member is away', () => {
  expect(done([still, lost])).toEqual(['reinitialize shop-s0-2']);
  expect(done([{ ...lost, name: 'shop-s0-1' }, lost])).toEqual(['reinitialize shop-s0-1']);
  expect(done([still], { ready: false })).toEqual([]);
});
