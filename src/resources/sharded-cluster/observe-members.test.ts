import { describe, expect, it } from 'vitest';
import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { createCache, labelIndex } from '../../runtime/cache.ts';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import { shardMapObject } from './desired/shard-map.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from './kubernetes.ts';
import type { ShardMapObject } from './model.ts';
import { clusterLabel, memberLabels } from './names.ts';
import { type CachedShard, cachedShards, type ShardSources } from './observe-members.ts';
import { byCluster } from './sources.ts';
import { shardedCluster } from './test-support/world.ts';

const cluster = shardedCluster({ shards: { count: 2 } });

interface World {
  readonly statefulSets?: readonly StatefulSet[];
  readonly pods?: readonly Pod[];
  readonly claims?: readonly PersistentVolumeClaim[];
  readonly map?: ShardMapSpec;
}

function cacheOf<T extends KubernetesObject>(objects: readonly T[]) {
  const cache = createCache<T>({ [byCluster]: labelIndex(clusterLabel) });
  for (const object of objects) cache.set(object);
  return { cache };
}

function shards({ statefulSets = [], pods = [], claims = [], map }: World): CachedShard[] {
  const maps: ShardMapObject[] = map === undefined ? [] : [shardMapObject(cluster, map)];
  const sources: ShardSources = {
    statefulSets: cacheOf(statefulSets),
    pods: cacheOf(pods),
    claims: cacheOf(claims),
    maps: cacheOf(maps),
  };
  return cachedShards(cluster, sources, (node) => (node === 'node-a' ? 'zone-a' : undefined));
}

function statefulSet(shard: string, change: Partial<StatefulSet> = {}): StatefulSet {
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: {
      name: `shop-${shard}`,
      namespace: 'shop',
      generation: 4,
      labels: memberLabels('shop', shard),
    },
    spec: { replicas: 2 },
    status: { observedGeneration: 4, currentRevision: 'new', updateRevision: 'new' },
    ...change,
  };
}

function pod(
  shard: string,
  ordinal: number,
  change: { revision?: string; ready?: string; node?: string } = {},
): Pod {
  const { revision = 'new', ready = 'True', node } = change;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `shop-${shard}-${ordinal}`,
      namespace: 'shop',
      labels: { ...memberLabels('shop', shard), 'controller-revision-hash': revision },
    },
    spec: node === undefined ? {} : { nodeName: node },
    status: { conditions: [{ type: 'Ready', status: ready }] },
  };
}

function claim(shard: string, ordinal: number, deletionTimestamp?: string): PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: `data-shop-${shard}-${ordinal}`,
      namespace: 'shop',
      labels: memberLabels('shop', shard),
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
    },
  };
}

const outdated = (world: World) => shards(world)[0]?.members.map((member) => member.outdated);

describe('the shards of a cluster', () => {
  it('are those that are wanted, whether or not they are there', () => {
    expect(shards({})).toMatchObject([
      { name: 's0', index: 0, statefulSet: undefined, settled: false, members: [], claims: [] },
      { name: 's1', index: 1 },
    ]);
  });

  it('are those that are there, too', () => {
    const world = { statefulSets: [statefulSet('s11'), statefulSet('s3')] };
    expect(shards(world).map(({ name }) => name)).toEqual(['s0', 's1', 's3', 's11']);
  });

  it('are those that own buckets, too, though nothing else of them is there', () => {
    const map: ShardMapSpec = {
      cluster: 'shop',
      epoch: 1,
      groups: [{ name: 'orders', strategy: 'hash', buckets: [{ id: 0, shard: 's4', epoch: 1 }] }],
    };
    expect(shards({ map }).map(({ name }) => name)).toEqual(['s0', 's1', 's4']);
  });

  it('are not what merely carries the label of one', () => {
    const other = statefulSet('s3');
    const stranger = { ...other, metadata: { ...other.metadata, name: 'shop-replicas' } };
    expect(shards({ statefulSets: [stranger] }).map(({ name }) => name)).toEqual(['s0', 's1']);
  });
});

describe('the members of a shard', () => {
  it('are the pods that the StatefulSet shall have, and those that it still has', () => {
    const world = {
      statefulSets: [statefulSet('s0')],
      pods: [pod('s0', 0, { node: 'node-a' }), pod('s0', 3)],
    };
    expect(shards(world)[0]?.members).toMatchObject([
      { name: 'shop-s0-0', ordinal: 0, ready: true, zone: 'zone-a' },
      { name: 'shop-s0-1', ordinal: 1, ready: false, pod: undefined },
      { name: 'shop-s0-3', ordinal: 3, ready: true, zone: undefined },
    ]);
  });

  it('are outdated when their revision is not the one of the StatefulSet', () => {
    const pods = [pod('s0', 0, { revision: 'old' }), pod('s0', 1)];
    expect(outdated({ statefulSets: [statefulSet('s0')], pods })).toEqual([true, false]);
  });

  it.each([
    [
      'has not been looked at by its controller',
      { status: { observedGeneration: 3, updateRevision: 'new' } },
    ],
    ['has no revision yet', { status: { observedGeneration: 4 } }],
    [
      'is being deleted',
      { metadata: { ...statefulSet('s0').metadata, deletionTimestamp: '2026-01-10T00:00:00Z' } },
    ],
  ])('are not called outdated while the StatefulSet %s', (_, change) => {
    const world = { statefulSets: [statefulSet('s0', change)], pods: [pod('s0', 0, { revision: 'old' })] };
    expect(shards(world)[0]?.settled).toBe(false);
    expect(outdated(world)?.some(Boolean)).toBe(false);
  });

  it('are not called outdated when the StatefulSet is gone', () => {
    expect(outdated({ pods: [pod('s0', 0, { revision: 'old' })] })).toEqual([false]);
  });

  it('lose their volume when somebody deletes their claim, and are not outdated for that', () => {
    const world = {
      statefulSets: [statefulSet('s0')],
      pods: [pod('s0', 0), pod('s0', 1)],
      claims: [claim('s0', 0), claim('s0', 1, '2026-01-10T00:00:00Z')],
    };
    expect(shards(world)[0]?.members.map((member) => member.losesVolume)).toEqual([false, true]);
    expect(outdated(world)).toEqual([false, false]);
  });

  it('are ready when Kubernetes says so, and they are not being deleted', () => {
    const going = pod('s0', 1);
    const world = {
      statefulSets: [statefulSet('s0')],
      pods: [
        pod('s0', 0, { ready: 'False' }),
        { ...going, metadata: { ...going.metadata, deletionTimestamp: '2026-01-10T00:00:00Z' } },
      ],
    };
    expect(shards(world)[0]?.members.map((member) => member.ready)).toEqual([false, false]);
  });
});
