import fc from 'fast-check';
import { expect, test } from 'vitest';
import { headlessService, readOnlyService, readWriteService, scope } from '../sharded-cluster/names.ts';
import {
  readService,
  replicaLabels,
  replicaOrdinal,
  replicaPod,
  replicaSelector,
  replicasName,
} from './names.ts';

test('names tell sets, shards and members apart, and never meet those of a cluster', () => {
  expect(replicasName('readers', 's0')).toBe('readers-s0-replicas');
  expect(readService('readers', 's0')).toBe('readers-s0-read');
  expect(replicaPod('readers', 's10', 3)).toBe('readers-s10-replicas-3');
});

test('two sets never meet, whatever their names and shards are, nor a set and a cluster', () => {
  const name = fc.constantFrom('a', 'a-s0', 'a-s1', 'a-s0-read', 'a-s0-replicas', 'a-s1-replicas-0', 'shop');
  const place = fc.record({ name, shard: fc.constantFrom('s0', 's1', 's10') });
  fc.assert(
    fc.property(place, place, (one, other) => {
      const ofSet = ({ name: set, shard }: typeof one) => [
        replicasName(set, shard),
        readService(set, shard),
        replicaPod(set, shard, 0),
      ];
      const ofCluster = [scope, readWriteService, readOnlyService, headlessService].map((named) =>
        named(other.name, other.shard),
      );
      const isSame = one.name === other.name && one.shard === other.shard;
      const others = [...(isSame ? [] : ofSet(other)), ...ofCluster];
      expect(ofSet(one).filter((found) => others.includes(found))).toEqual([]);
    }),
  );
});

test.each([
  ['readers-s0-replicas-0', 0],
  ['readers-s0-replicas-12', 12],
  ['readers-s0-replicas-01', undefined],
  ['readers-s1-replicas-0', undefined],
  ['readers-s0-0', undefined],
  ['readers-s0-replicas-x', undefined],
])('the ordinal of %s is %s', (pod, ordinal) => {
  expect(replicaOrdinal('readers', 's0', pod)).toBe(ordinal);
});

test('a member has the labels by which its StatefulSet and Patroni find it', () => {
  const labels = replicaLabels('shop', 'readers', 's0');
  expect(labels).toMatchObject(replicaSelector('readers', 's0'));
  expect(labels).toMatchObject({
    'herdsman.dev/cluster': 'shop',
    'herdsman.dev/shard': 's0',
    'herdsman.dev/scope': 'shop-s0',
  });
});
