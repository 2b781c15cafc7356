import { describe, expect, it } from 'vitest';
import { shardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ReadReplicaSet } from '../read-replica-set/model.ts';
import type { PersistentVolumeClaim, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { type SpecSketch, shardedCluster } from '../sharded-cluster/test-support/world.ts';
import { type MemberTraces, replicaUsage, usageOf } from './usage.ts';

/** The claim of the second member of the second shard. */
const claim: PersistentVolumeClaim = {
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: {
    name: 'data-shop-s1-1',
    namespace: 'shop',
    labels: { 'herdsman.dev/cluster': 'shop', 'herdsman.dev/shard': 's1' },
  },
};

const cluster = (spec: SpecSketch) => shardedCluster({ shards: { count: 2 }, members: 2, ...spec });
const replicas = (count: number): StatefulSet => ({
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { name: 'shop-s1' },
  spec: { replicas: count },
});
const nothing: MemberTraces<never> = {
  owner: undefined,
  cluster: undefined,
  statefulSet: undefined,
  hasPod: false,
};
const usage = (traces: Partial<MemberTraces<ShardedCluster>>, of = claim) =>
  usageOf(of, { ...nothing, ...traces });

describe('a claim', () => {
  it.each<[string, Partial<MemberTraces<ShardedCluster>>]>([
    ['the cluster wants its member', { owner: cluster({}) }],
    ['its pod is there', { hasPod: true }],
    ['its pod is there, which the cluster does not want', { owner: cluster({ members: 1 }), hasPod: true }],
    ['its StatefulSet still has the member', { statefulSet: replicas(2) }],
    [
      'a shard goes whose StatefulSet is there',
      { owner: cluster({ shards: { count: 1 } }), statefulSet: replicas(2) },
    ],
  ])('is used while %s', (_, traces) => {
    expect(usage(traces)).toBe('used');
  });

  it.each<[string, Partial<MemberTraces<ShardedCluster>>]>([
    ['the cluster is gone', {}],
    ['there are fewer members', { owner: cluster({ members: 1 }), statefulSet: replicas(1) }],
    ['there are fewer shards', { owner: cluster({ shards: { count: 1 } }) }],
  ])('is not used when %s', (_, traces) => {
    expect(usage(traces)).toBe('unused');
  });

  it('is not given up while more shards are wanted than were chosen', () => {
    const shards = { desired: 1, names: ['s0'], current: 1, ready: 1, summary: '1/1', items: [] };
    expect(usage({ owner: { ...cluster({}), status: shardedClusterStatus.parse({ shards }) } })).toBe(
      'unknown',
    );
  });

  it('is not given up while the cluster is suspended', () => {
    expect(usage({ owner: cluster({ shards: { count: 1 }, suspend: true }) })).toBe('unknown');
  });

  it('is used while autoscaling wants its shard, whatever the count says', () => {
    const metrics = [{ type: 'CPU' as const, target: '60' }];
    const owner = cluster({ shards: { count: 1, autoscaling: { minShards: 1, maxShards: 4, metrics } } });
    const autoscaling = { base: 1, desired: 2, recommended: 2, metrics: [], reason: 'Tested', message: '' };
    const status = shardedClusterStatus.parse({ autoscaling });
    expect(usage({ owner: { ...owner, status } })).toBe('used');
    expect(usage({ owner })).toBe('unused');
  });

  it('is not used when another shard than the last has gone, and is while it stays', () => {
    const owner = cluster({ shards: { count: 2 } });
    const used = (names: string[]) => {
      const shards = { desired: 2, names, current: 2, ready: 2, summary: '2/2', items: [] };
      return usage({ owner: { ...owner, status: shardedClusterStatus.parse({ shards }) } });
    };
    expect(used(['s0', 's2'])).toBe('unused');
    expect(used(['s1', 's2'])).toBe('used');
  });

  it.each<[string, PersistentVolumeClaim['metadata']]>([
    ['no shard', { ...claim.metadata, labels: { 'herdsman.dev/cluster': 'shop' } }],
    ['another name', { ...claim.metadata, name: 'data-shop-s2-1' }],
    [
      'a shard that is none',
      { ...claim.metadata, labels: { ...claim.metadata.labels, 'herdsman.dev/shard': 'x' } },
    ],
  ])('with %s is not known, also when the cluster is gone', (_, metadata) => {
    expect(usage({}, { ...claim, metadata })).toBe('unknown');
  });
});

describe('the claim of the second member of a read replica set', () => {
  const ofReplica: PersistentVolumeClaim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: 'data-readers-s1-replicas-1',
      namespace: 'shop',
      labels: {
        'herdsman.dev/cluster': 'shop',
        'herdsman.dev/shard': 's1',
        'herdsman.dev/replica-set': 'readers',
      },
    },
  };
  const replicaSet = (spec: Record<string, unknown>, desired?: number): ReadReplicaSet => ({
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ReadReplicaSet',
    metadata: { name: 'readers', namespace: 'shop', uid: 'r' },
    // As its user wrote it: without defaults.
    spec: { cluster: 'shop', ...spec } as ReadReplicaSet['spec'],
    ...(desired === undefined
      ? {}
      : { status: { replicas: { desired, current: 0, ready: 0, inRotation: 0, total: 0, summary: '' } } }),
  });
  const autoscaling = { maxReplicas: 3, metrics: [{ type: 'QPS', target: 1 }] };

  it.each<[string, Partial<MemberTraces<ReadReplicaSet>>, string]>([
    ['its pod is there', { hasPod: true }, 'used'],
    ['its StatefulSet still has the member', { statefulSet: replicas(2) }, 'used'],
    ['the set wants its member', { owner: replicaSet({ replicas: 2 }) }, 'used'],
    ['the autoscaler has decided on it', { owner: replicaSet({ autoscaling }, 2) }, 'used'],
    ['the set is gone', {}, 'unused'],
    ['the set is suspended', { owner: replicaSet({ suspend: true }, 1) }, 'unknown'],
    ['the set wants fewer', { owner: replicaSet({}, 1), statefulSet: replicas(1) }, 'unused'],
    ['the autoscaler wants fewer', { owner: replicaSet({ replicas: 9, autoscaling }, 1) }, 'unused'],
    ['the set has left the shard', { owner: replicaSet({ replicas: 2, shards: ['s0'] }) }, 'unused'],
  ])('when %s', (_, traces, expected) => {
    expect(replicaUsage(ofReplica, { ...nothing, ...traces })).toBe(expected);
  });

  describe('in a shard of which the cluster', () => {
    const status = (names: string[] | undefined, items: Record<string, number>) =>
      shardedClusterStatus.parse({
        shards: {
          desired: 1,
          ...(names === undefined ? {} : { names }),
          current: 1,
          ready: 1,
          summary: '1/1',
          items: Object.entries(items).map(([name, orders]) => ({
            name,
            ready: true,
            readyMembers: 0,
            members: [],
            buckets: { orders },
          })),
        },
      });
    const spec = { shards: { count: 1 } };
    const s1 = { s0: 9, s1: 0 };

    it.each<[string, Partial<ShardedCluster>, string]>([
      ['says that it is wanted', { ...cluster({}), status: status(['s0', 's1'], s1) }, 'used'],
      ['says that it owns rows', { ...cluster(spec), status: status(['s0'], { s0: 5, s1: 4 }) }, 'used'],
      ['has not got rid yet', { ...cluster(spec), status: status(['s0'], s1) }, 'unknown'],
      ['says nothing yet', cluster(spec), 'unknown'],
      ['tells of no shard yet', { ...cluster(spec), status: status(['s0'], {}) }, 'unknown'],
      ['may be about to choose it', { ...cluster({}), status: status(['s0'], { s0: 9 }) }, 'unknown'],
      [
        'is suspended',
        { ...cluster({ ...spec, suspend: true }), status: status(['s0'], { s0: 9 }) },
        'unknown',
      ],
      ['says that it is given up', { ...cluster(spec), status: status(['s0'], { s0: 9 }) }, 'unused'],
    ])('%s', (_, found, expected) => {
      const traces = { ...nothing, owner: replicaSet({ replicas: 2 }), cluster: found as ShardedCluster };
      expect(replicaUsage(ofReplica, traces)).toBe(expected);
    });

    it('says that it is given up, while a pod or its StatefulSet is still there', () => {
      const found = { ...cluster(spec), status: status(['s0'], { s0: 9 }) };
      const traces = { ...nothing, owner: replicaSet({ replicas: 2 }), cluster: found };
      expect(replicaUsage(ofReplica, { ...traces, hasPod: true })).toBe('used');
      expect(replicaUsage(ofReplica, { ...traces, statefulSet: replicas(2) })).toBe('used');
    });
  });

  it('is told by its set, too, when it is of a read model', () => {
    const labels = { ...ofReplica.metadata.labels, 'herdsman.dev/shard': 'model' };
    const ofModel = {
      ...ofReplica,
      metadata: { ...ofReplica.metadata, name: 'data-readers-model-replicas-1', labels },
    };
    const usage = (owner?: ReadReplicaSet) =>
      replicaUsage(ofModel, { ...nothing, owner, cluster: cluster({}) });
    expect(usage(replicaSet({ mode: 'logical', replicas: 2 }))).toBe('used');
    expect(usage(replicaSet({ mode: 'logical', replicas: 1 }))).toBe('unused');
    expect(usage()).toBe('unused');
  });

  it('is left alone when it is no claim of that set', () => {
    const stranger = {
      ...ofReplica,
      metadata: { ...ofReplica.metadata, name: 'data-readers-s2-replicas-1' },
    };
    expect(replicaUsage(stranger, nothing)).toBe('unknown');
  });
});
