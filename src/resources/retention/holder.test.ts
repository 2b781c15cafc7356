import { expect, test } from 'vitest';
import { createManualClock } from '../../../test/support/manual-clock.ts';
import { type MemoryApi, memoryApi } from '../../../test/support/memory-api.ts';
import { shardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import { persistentVolumeClaimType, podType, statefulSetType } from '../../runtime/kubernetes-types.ts';
import { readers, cluster as shop } from '../read-replica-set/test-support/world.ts';
import { readReplicaSetType, shardedClusterType } from '../sharded-cluster/kinds.ts';
import type { PersistentVolumeClaim } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { retentionController } from './controller.ts';
import { replicaVolumes } from './holder.ts';

type Sources = Parameters<typeof replicaVolumes>[0];
type Replicas = Parameters<typeof replicaVolumes>[1];

const claimKey = { namespace: 'store', name: 'data-readers-s1-replicas-0' };
const clusterKey = { namespace: 'store', name: 'shop' };
const heldUntil = new Date('2026-01-08T00:00:00Z');

/** The cluster when it has these shards. */
function withShards(...names: string[]): ShardedCluster {
  const items = names.map((name) => ({ name, ready: true, readyMembers: 0, members: [] }));
  const count = { desired: names.length, current: names.length, ready: names.length, summary: '' };
  return {
    ...shop,
    spec: { ...shop.spec, shards: { ...shop.spec.shards, count: names.length } },
    status: shardedClusterStatus.parse({ shards: { ...count, names, items } }),
  };
}

/**
 * Lets the controller look after the volume of a set's member in shard `s1`, of which neither pod nor StatefulSet is there. Of a
 * change it has not heard yet.
 */
function lookingAfter(
  cluster: ShardedCluster,
  annotations: Record<string, string>,
  change: (api: MemoryApi) => void = () => undefined,
) {
  const api = memoryApi();
  api.create(shardedClusterType, cluster);
  api.create(readReplicaSetType, readers({ deletionPolicy: 'delete' }));
  api.create<PersistentVolumeClaim>(persistentVolumeClaimType, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      ...claimKey,
      uid: 'u',
      labels: { 'herdsman.dev/replica-set': 'readers', 'herdsman.dev/shard': 's1' },
      annotations: {
        'herdsman.dev/deletion-policy': 'delete',
        'herdsman.dev/hold-period': '7d',
        ...annotations,
      },
    },
  });
  const sources = {
    clusters: api.informer(shardedClusterType, {}),
    replicaSets: api.informer(readReplicaSetType, { cluster: () => ['store/shop'] }),
  } as unknown as Sources;
  const replicas = {
    claims: api.informer(persistentVolumeClaimType, { set: () => ['store/readers'] }),
    statefulSets: api.informer(statefulSetType, {}),
    pods: api.informer(podType, {}),
  } as unknown as Replicas;
  const hear = api.holdBack();
  change(api);
  const clock = createManualClock(heldUntil);
  const controller = retentionController({
    client: { ...api.client, serverTime: () => heldUntil },
    holder: replicaVolumes(sources, replicas),
    events: { record: () => undefined as never, flush: async () => undefined },
    clock,
  });
  let passes = 0;
  const stop = new AbortController();
  controller.start({
    signal: stop.signal,
    clock,
    onReconciled: () => {
      passes += 1;
    },
  });
  return {
    api,
    stop,
    hear,
    passes: () => passes,
    releasedAt: () =>
      api.get(persistentVolumeClaimType, claimKey).metadata.annotations?.['herdsman.dev/released-at'],
    remains: async () => (await api.client.get(persistentVolumeClaimType, claimKey)) !== undefined,
  };
}

test('the hold period of a volume begins when the cluster has given its shard up', async () => {
  const { api, stop, hear, passes, releasedAt } = lookingAfter(withShards('s0', 's1'), {});
  await expect.poll(passes).toBe(1);
  expect(releasedAt()).toBeUndefined();
  hear();
  await replace(api, withShards('s0'));
  await expect.poll(releasedAt).toBe(heldUntil.toISOString());
  stop.abort();
});

async function replace(api: MemoryApi, { spec, status }: ShardedCluster): Promise<void> {
  api.change(shardedClusterType, clusterKey, spec);
  const live = api.get<ShardedCluster>(shardedClusterType, clusterKey);
  await api.client.updateStatus(shardedClusterType, { ...live, status });
}

const held = { 'herdsman.dev/released-at': '2026-01-01T00:00:00Z' };

test('the volume goes when that is over, and the set has no member in the shard', async () => {
  const { stop, remains } = lookingAfter(withShards('s0'), held);
  await expect.poll(remains).toBe(false);
  stop.abort();
});

test.each<{ what: string; change: (api: MemoryApi) => void }>([
  { what: 'has its shard again', change: (api) => void replace(api, withShards('s0', 's1')) },
  { what: 'is gone', change: (api) => api.delete(shardedClusterType, clusterKey) },
])('it stays when the API server says that the cluster $what', async ({ change }) => {
  const { stop, passes, remains } = lookingAfter(withShards('s0'), held, change);
  await expect.poll(passes).toBe(1);
  expect(await remains()).toBe(true);
  stop.abort();
});
