import { expect, test } from 'vitest';
import type { SourceFacts } from '../../../postgres/read-model/publisher.ts';
import { cluster, readers } from '../test-support/world.ts';
import { modelCapacity } from './capacity.ts';
import type { ModelSource } from './model.ts';
import type { ModelInput } from './plan.ts';

function source(shard: string, maxReplicationSlots: number): ModelSource {
  const value = { maxWalSenders: 20, maxReplicationSlots } as SourceFacts;
  return { shard, member: `shop-${shard}-0`, address: '10.0.0.1', facts: { state: 'present', value } };
}

function capacity(replicas: number, sources: readonly ModelSource[], others = 0) {
  const set = readers({ replicas, mode: 'logical', logical: { tables: [{ name: 'orders' }] } });
  const takenByOthers = new Map([['s1', { senders: others, slots: others }]]);
  return modelCapacity({ set, cluster, world: { sources }, takenByOthers } as unknown as ModelInput);
}

test('a read model has as many members as the primary with the least room can feed', () => {
  const sources = [source('s0', 20), source('s1', 12)];
  expect(capacity(3, sources, 3)).toEqual({ most: 3, problem: undefined });
  expect(capacity(4, sources, 3)).toEqual({
    most: 3,
    problem: {
      reason: 'TooManyMembers',
      message: expect.stringMatching(/^shard s1 has room for 3 of 4 members: .*max_replication_slots 12\b/),
    },
  });
});

test('a shard that does not answer refuses nobody', () => {
  const silent: ModelSource = {
    ...source('s0', 0),
    facts: { state: 'unknown', error: new Error('silence') },
  };
  expect(capacity(4, [silent])).toEqual({ most: Number.POSITIVE_INFINITY, problem: undefined });
});
