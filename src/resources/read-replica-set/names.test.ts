import { expect, test } from 'vitest';
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
