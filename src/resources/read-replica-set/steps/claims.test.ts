import { expect, test } from 'vitest';
import type { PersistentVolumeClaim } from '../../sharded-cluster/kubernetes.ts';
import { plan } from '../plan.ts';
import { input, member, membersApplied, readers, shard } from '../test-support/world.ts';

/** The data of the cluster began at midnight. */
function claim(
  ordinal: number,
  cluster: string,
  creationTimestamp = '2026-01-01T00:00:10Z',
): PersistentVolumeClaim {
  const name = `data-readers-s0-replicas-${ordinal}`;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, labels: { 'herdsman.dev/cluster': cluster }, creationTimestamp },
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
      reason: 'VolumeOfOtherData',
      message: expect.stringContaining(
        `claim data-readers-s0-replicas-${ordinal} holds data of ShardedCluster "other", of a former set of this name: delete`,
      ),
    },
  ]);
});

test('a member that is there, with the data of the cluster before it was made anew, is told of and stays', () => {
  const stuck = member(set, 0, { ready: false });
  const former = claim(0, 'shop', '2025-12-31T23:49:59Z');
  const decided = plan(input(set, [shard([stuck], { claims: [former] })]));
  expect(membersApplied(decided.actions)).toBe(1);
  expect(decided.failures).toMatchObject([
    {
      reason: 'VolumeOfOtherData',
      message: expect.stringContaining(
        'data from before ShardedCluster "shop" was made anew, at 2026-01-01T00:00:00.000Z: delete the claim',
      ),
    },
  ]);
});

test('a volume that is a little older than its data, by clocks that differ, is none of other data', () => {
  const early = claim(0, 'shop', '2025-12-31T23:50:01Z');
  expect(plan(input(set, [shard([], { claims: [early] })])).failures).toEqual([]);
});

test('a volume beyond the members that are wanted keeps nobody away', () => {
  const decided = plan(input(set, [shard([], { claims: [claim(2, 'other')] })]));
  expect(membersApplied(decided.actions)).toBe(2);
  expect(decided.failures).toEqual([]);
});
