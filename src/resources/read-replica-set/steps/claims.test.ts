import { expect, test } from 'vitest';
import type { PersistentVolumeClaim } from '../../sharded-cluster/kubernetes.ts';
import { plan } from '../plan.ts';
import { input, member, membersApplied, readers, shard } from '../test-support/world.ts';

function claim(ordinal: number, cluster: string): PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: `data-readers-s0-replicas-${ordinal}`, labels: { 'herdsman.dev/cluster': cluster } },
  };
}

const set = readers({ replicas: 2, maxConcurrentClones: 2 });

test('members go on with the volumes that a former set of the name has left', () => {
  const decided = plan(input(set, [shard([], { claims: [claim(0, 'shop'), claim(1, 'shop')] })]));
  expect(membersApplied(decided.actions)).toBe(2);
  expect(decided.failures).toEqual([]);
});

test.each([0, 1])('no member is made on a volume with the data of another cluster: ordinal %i', (ordinal) => {
  const present = Array.from({ length: ordinal }, (_, index) => member(set, index));
  const decided = plan(input(set, [shard(present, { claims: [claim(ordinal, 'other')] })]));
  expect(membersApplied(decided.actions)).toBe(ordinal);
  expect(decided.failures).toMatchObject([
    {
      reason: 'VolumeOfAnotherCluster',
      message: expect.stringContaining(
        `claim data-readers-s0-replicas-${ordinal} is of a former set of this name, and holds data of ShardedCluster "other"`,
      ),
    },
  ]);
});

test('a volume beyond the members that are wanted keeps nobody away', () => {
  const decided = plan(input(set, [shard([], { claims: [claim(2, 'other')] })]));
  expect(membersApplied(decided.actions)).toBe(2);
  expect(decided.failures).toEqual([]);
});
