import { expect, it } from 'vitest';
import type { KubeClient } from '../../runtime/kube-client.ts';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import type { Reading } from '../../runtime/reading.ts';
import { shardMapObject } from './desired/shard-map.ts';
import { requireMapVersion } from './map-version.ts';
import { shardedCluster } from './test-support/world.ts';

const cluster = shardedCluster();
const map = shardMapObject(cluster, { cluster: 'shop', epoch: 1, groups: [] });
const withVersion = (resourceVersion: string) => ({ ...map, metadata: { ...map.metadata, resourceVersion } });

function judge(live: Reading<KubernetesObject>, version: string): Promise<void> {
  const client: Pick<KubeClient, 'read'> = {
    read: async <T extends KubernetesObject>() => live as Reading<T>,
  };
  return requireMapVersion(client, cluster, version, new AbortController().signal);
}

it('lets a plan go on that was made on the map as it is', async () => {
  await judge({ state: 'present', value: withVersion('7') }, '7');
});

it.each<[string, Reading<KubernetesObject>, string]>([
  ['has another version', { state: 'present', value: withVersion('8') }, '7'],
  ['was judged without a version', { state: 'present', value: map }, ''],
  ['is gone', { state: 'absent' }, '7'],
  ['cannot be read', { state: 'unknown', error: new Error('timeout') }, '7'],
])('stops it when the map %s', async (_, live, version) => {
  await expect(judge(live, version)).rejects.toThrow(/ShardMap|timeout/);
});
