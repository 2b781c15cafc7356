import { describe, expect, it } from 'vitest';
import { senders, withFarewells } from './forgotten.ts';
import type { ObservedShard } from './model.ts';
import { emptyCatalog, mirrorOf, newDatabase } from './test-support/shard-content.ts';
import { absentShard } from './test-support/world.ts';

const unread = { state: 'unknown' as const, error: new Error('not read') };

/** A shard whose mirror has a bucket on each of the shards named. */
function shardThatNames(index: number, ...names: readonly string[]): ObservedShard {
  const catalog = { ...emptyCatalog, mirror: mirrorOf(...names) };
  return {
    ...absentShard(index),
    database: { state: 'present', value: { ...newDatabase, catalog } },
  };
}

describe('a shard that shall go', () => {
  it.each<[string, ObservedShard[], string[]]>([
    ['by one that stays', [shardThatNames(0, 's0', 's2'), shardThatNames(1, 's0', 's1')], ['s0']],
    ['by one that shall go too', [shardThatNames(0, 's0'), shardThatNames(1, 's2')], ['s1']],
    ['by itself', [shardThatNames(0, 's0'), shardThatNames(2, 's2')], ['s2']],
    ['perhaps, by one that stays and does not answer', [absentShard(0)], ['s0']],
    ['not, by one that shall go too and does not answer', [shardThatNames(0, 's0'), absentShard(1)], []],
  ])('is named %s', (_, shards, expected) => {
    expect(senders({ shards, map: unread, wanted: ['s0'] }, 's2')).toEqual(expected);
  });

  it.each([
    ['orders', ['s0']],
    ['another one', []],
  ])('is not named by rows of groups that are no more: the map has %s', (name, expected) => {
    const spec = { cluster: 'shop', epoch: 1, groups: [{ name, strategy: 'hash' as const, buckets: [] }] };
    const metadata = { name: 'shop' };
    const value = { apiVersion: 'herdsman.dev/v1alpha1', kind: 'ShardMap', metadata, spec };
    const map = { state: 'present' as const, value };
    expect(senders({ shards: [shardThatNames(0, 's2')], map, wanted: ['s0'] }, 's2')).toEqual(expected);
  });

  it('has been forgotten since no mirror named it', () => {
    const memory = { forgotten: new Map<string, number>() };
    const leaving = shardThatNames(2, 's0');
    const told = (stays: ObservedShard, nowMs: number) =>
      withFarewells(memory, { shards: [stays, leaving], map: unread, wanted: ['s0'] }, nowMs).map(
        ({ forgottenMs }) => forgottenMs,
      );
    expect(told(shardThatNames(0, 's2'), 1_000)).toEqual([undefined, undefined]);
    expect(told(shardThatNames(0, 's0'), 2_000)).toEqual([undefined, 0]);
    expect(told(shardThatNames(0, 's0'), 5_000)).toEqual([undefined, 3_000]);
    expect(told(absentShard(0), 6_000)).toEqual([undefined, undefined]);
    expect(told(shardThatNames(0, 's0'), 7_000)).toEqual([undefined, 0]);
  });
});
