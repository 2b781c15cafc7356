import { describe, expect, it } from 'vitest';
import { shardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { PersistentVolumeClaim, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import { type SpecSketch, shardedCluster } from '../sharded-cluster/test-support/world.ts';
import { type MemberTraces, usageOf } from './usage.ts';

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
const nothing: MemberTraces = { owner: undefined, statefulSet: undefined, hasPod: false };
const usage = (traces: Partial<MemberTraces>, of = claim) => usageOf(of, { ...nothing, ...traces });

describe('a claim', () => {
  it.each<[string, Partial<MemberTraces>]>([
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

  it.each<[string, Partial<MemberTraces>]>([
    ['the cluster is gone', {}],
    ['there are fewer members', { owner: cluster({ members: 1 }), statefulSet: replicas(1) }],
    ['there are fewer shards', { owner: cluster({ shards: { count: 1 } }) }],
  ])('is not used when %s', (_, traces) => {
    expect(usage(traces)).toBe('unused');
  });

  it('is used while autoscaling wants its shard, whatever the count says', () => {
    const metrics = [{ type: 'CPU' as const, target: '60' }];
    const owner = cluster({ shards: { count: 1, autoscaling: { minShards: 1, maxShards: 4, metrics } } });
    const autoscaling = { base: 1, desired: 2, recommended: 2, metrics: [], reason: 'Tested', message: '' };
    const status = shardedClusterStatus.parse({ autoscaling });
    expect(usage({ owner: { ...owner, status } })).toBe('used');
    expect(usage({ owner })).toBe('unused');
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
