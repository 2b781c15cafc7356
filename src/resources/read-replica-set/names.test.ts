import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  adminSecret,
  instanceName,
  peersService,
  pgpoolKeySecret,
  poolerName,
} from '../pooler-config/names.ts';
import {
  applicationSecret,
  authoritySecret,
  monitoringSecret,
  operatorTlsSecret,
  patroniConfigMap,
  patroniState,
  podName,
  readOnlyService,
  readWriteService,
  scope,
  shardTlsSecret,
} from '../sharded-cluster/names.ts';
import { modelConfigMap, modelPart, modelTlsSecret } from './logical/names.ts';
import {
  readService,
  replicaLabels,
  replicaOrdinal,
  replicaPod,
  replicaSelector,
  replicasConfigMap,
  replicasName,
} from './names.ts';

test('names tell sets, shards and members apart, and never meet those of a cluster', () => {
  expect(replicasName('readers', 's0')).toBe('readers-s0-replicas');
  expect(readService('readers', 's0')).toBe('readers-s0-read');
  expect(replicaPod('readers', 's10', 3)).toBe('readers-s10-replicas-3');
});

/** Names of the objects of a set, a cluster and a PoolerConfig with the name, by who has them. */
function namesOf(name: string, shards: readonly string[]): Readonly<Record<string, readonly string[]>> {
  const states = ['leader', 'config', 'sync', 'failover', 'failsafe'] as const;
  const ordinals = [0, 1, 10];
  return {
    set: [...shards, modelPart].flatMap((part) => [
      ...[replicasName, readService, replicasConfigMap].map((named) => named(name, part)),
      ...ordinals.map((ordinal) => replicaPod(name, part, ordinal)),
    ]),
    model: [modelConfigMap(name), modelTlsSecret(name)],
    cluster: [
      ...[authoritySecret, applicationSecret, monitoringSecret, operatorTlsSecret].map((named) =>
        named(name),
      ),
      ...shards.flatMap((shard) => [
        ...[scope, readWriteService, readOnlyService, patroniConfigMap, shardTlsSecret].map((named) =>
          named(name, shard),
        ),
        ...states.map((state) => patroniState(name, shard, state)),
        ...ordinals.map((ordinal) => podName(name, shard, ordinal)),
      ]),
    ],
    pooler: [
      ...[poolerName, peersService, adminSecret, pgpoolKeySecret].map((named) => named(name)),
      ...ordinals.map((ordinal) => instanceName(name, ordinal)),
    ],
  };
}

// Each name ends in what tells whose it is, so that nobody has to be refused.
test('sets, clusters and PoolerConfigs never meet, whatever their names and shards are', () => {
  const word = fc.constantFrom(
    'a',
    's0',
    's1',
    'replicas',
    'read',
    'model',
    'pooler',
    'rw',
    'tls',
    'app',
    '0',
    '10',
  );
  const name = fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join('-'));
  const shards = ['s0', 's1', 's10'];
  fc.assert(
    fc.property(name, name, (one, other) => {
      const owners = [one, ...(one === other ? [] : [other])].flatMap((owner) =>
        Object.values(namesOf(owner, shards)),
      );
      const names = owners.flat();
      expect(names.filter((found, index) => names.indexOf(found) !== index)).toEqual([]);
      // PostgreSQL knows members by their names with "_" for "-", in its slots.
      expect(new Set(names.map((found) => found.replaceAll('-', '_'))).size).toBe(names.length);
    }),
    { numRuns: 500 },
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
