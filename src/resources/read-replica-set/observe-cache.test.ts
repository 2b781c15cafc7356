import { describe, expect, it } from 'vitest';
import { emptyMemory } from './memory.ts';
import { type Rotation, rotationLabel } from './names.ts';
import { cachedShards, placesOf } from './observe-cache.ts';
import type { ReplicaSources } from './sources.ts';
import { member, readers, cluster as shop, statefulSet } from './test-support/world.ts';

type Cluster = Parameters<typeof placesOf>[1];

function cluster(
  count: number,
  told?: {
    readonly desired: number;
    readonly names: readonly string[];
    readonly wanted?: readonly string[];
    /** Buckets of each shard. */
    readonly buckets?: readonly number[];
  },
): Cluster {
  const spec = { shards: { count, autoscaling: { minShards: 1, maxShards: 9 } } };
  if (told === undefined) return { spec } as Cluster;
  const items = told.names.map((name, index) => ({ name, buckets: { orders: told.buckets?.[index] ?? 0 } }));
  return {
    spec,
    status: { shards: { items, names: told.wanted }, autoscaling: { base: count, desired: told.desired } },
  } as unknown as Cluster;
}

function set(shards?: readonly string[]): Parameters<typeof placesOf>[0] {
  return { spec: { shards } } as Parameters<typeof placesOf>[0];
}

describe('the places of a set', () => {
  it.each([
    ['all shards', set(), cluster(2, { desired: 2, names: ['s0', 's1'] }), ['s0', 's1'], ['s0', 's1']],
    ['those that it names', set(['s1']), cluster(2, { desired: 2, names: ['s0', 's1'] }), ['s1'], ['s1']],
    ['with one that is to come', set(), cluster(2, { desired: 2, names: ['s0'] }), ['s0', 's1'], ['s0']],
    ['without one that shall go', set(), cluster(1, { desired: 1, names: ['s0', 's1'] }), ['s0'], ['s0']],
    [
      'with one that shall go and has buckets still',
      set(),
      cluster(1, { desired: 1, names: ['s0', 's1', 's2'], buckets: [5, 3, 0] }),
      ['s0', 's1'],
      ['s0', 's1'],
    ],
    [
      'without one that they do not name, whatever it has',
      set(['s0']),
      cluster(1, { desired: 1, names: ['s0', 's1'], buckets: [5, 3] }),
      ['s0'],
      ['s0'],
    ],
    [
      'as autoscaling has them',
      set(),
      cluster(1, { desired: 2, names: ['s0', 's1'] }),
      ['s0', 's1'],
      ['s0', 's1'],
    ],
    [
      'without one that went from between others',
      set(),
      cluster(2, { desired: 2, names: ['s0', 's1', 's2'], wanted: ['s0', 's2'] }),
      ['s0', 's2'],
      ['s0', 's2'],
    ],
    ['in a cluster that has just come back', set(), cluster(2), ['s0', 's1'], []],
  ])('are %s', (_, asked, present, wanted, told) => {
    expect(placesOf(asked, present)).toEqual({ wanted, told });
  });
});

it('says for how long a member has had its rotation, by its pod', () => {
  const memory = emptyMemory(0);
  memory.silent.set('of a pod that is gone', 0);
  const { pod } = member(readers(), 0);
  const observe = (rotation: Rotation, nowMs: number, uid = 'a') => {
    const labels = { 'herdsman.dev/shard': 's0', [rotationLabel]: rotation };
    const found = { ...pod, metadata: { ...pod?.metadata, uid, labels } };
    const informer = (objects: readonly unknown[]) => ({ cache: { byIndex: () => objects } });
    const replicas = {
      statefulSets: informer([statefulSet(1)]),
      pods: informer([found]),
      claims: informer([]),
    } as unknown as ReplicaSources;
    const present = new Map([['StatefulSet/readers-s0-replicas', statefulSet(1)]]);
    const [shard] = cachedShards(readers(), shop, replicas, present, memory, nowMs);
    const [{ drainingMs, outMs } = { drainingMs: -1, outMs: -1 }] = shard?.members ?? [];
    return { drainingMs, outMs };
  };
  expect(observe('in', 1_000)).toEqual({ drainingMs: 0, outMs: 0 });
  expect(observe('out', 2_000)).toEqual({ drainingMs: 0, outMs: 0 });
  expect(observe('out', 5_000)).toEqual({ drainingMs: 0, outMs: 3_000 });
  expect(observe('draining', 6_000)).toEqual({ drainingMs: 0, outMs: 0 });
  expect(observe('draining', 8_000)).toEqual({ drainingMs: 2_000, outMs: 0 });
  expect(observe('draining', 9_000, 'b')).toEqual({ drainingMs: 0, outMs: 0 });
  expect([...memory.silent.keys()]).toEqual([]);
});

describe('the standby that members follow', () => {
  it.each([
    ['is the one of their configuration', 'tags: { replicatefrom: shop-s0-1 }', 'shop-s0-1'],
    ['is nobody without one', 'tags: {}', undefined],
    ['is not known by what is no YAML', 'tags: {', undefined],
    ['is not known by an empty file', '', undefined],
  ])('%s', (_, text, upstream) => {
    const informer = { cache: { byIndex: () => [] } };
    const replicas = {
      statefulSets: informer,
      pods: informer,
      claims: informer,
    } as unknown as ReplicaSources;
    const config = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'readers-s0-replicas-patroni', labels: { 'herdsman.dev/shard': 's0' } },
      data: { 'patroni.yml': text },
    };
    const objects = new Map([['ConfigMap/readers-s0-replicas-patroni', config]]);
    expect(cachedShards(readers(), shop, replicas, objects, emptyMemory(0), 0)).toMatchObject([
      { name: 's0', upstream },
    ]);
  });
});
