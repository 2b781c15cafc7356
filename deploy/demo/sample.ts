import { readFileSync } from 'node:fs';
import { load } from 'js-yaml';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { namespaceType, nodeType } from '../../src/runtime/kubernetes-types.ts';
import { kube, root } from '../../test/support/cluster.ts';
import {
  type ClusterKey,
  conditionOf,
  readCluster,
  type ShardedCluster,
  shardedClusterType,
  waitUntilReady,
} from '../../test/support/sharded-cluster.ts';
import { waitUntilSpread } from './scale.ts';

/** Namespace of the demo. */
export const namespace = 'herdsman-demo';

/** Path of the sample from the top of the checkout. */
export const samplePath = 'deploy/samples/flights.yaml';

/** Applies the sample, and waits until it is Ready. */
export async function applySample(progress: (text: string) => void): Promise<ShardedCluster> {
  const client = await kube();
  await client.apply(namespaceType, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: namespace, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  });
  const key: ClusterKey = { namespace, name: 'flights' };
  const before = await client.get<ShardedCluster>(shardedClusterType, key);
  const sample = load(readFileSync(`${root}${samplePath}`, 'utf8')) as ShardedCluster;
  sample.metadata.namespace = namespace;
  useZones(sample, await zonesOf());
  await client.apply(shardedClusterType, sample, { fieldManager: 'kubectl', force: true });
  const timer = setInterval(() => {
    readCluster(key).then(
      (cluster) => progress(summaryOf(cluster)),
      () => undefined,
    );
  }, 500);
  try {
    const ready = await waitUntilReady(key, { timeoutMs: 600_000 });
    if (before === undefined) return ready;
    // A demo that was interrupted may have left more shards, and buckets on their way.
    await waitUntilSpread(key, sample.spec.shards?.count ?? 1);
    return await waitUntilReady(key, { timeoutMs: 600_000 });
  } finally {
    clearInterval(timer);
  }
}

function summaryOf(cluster: ShardedCluster): string {
  const { status } = cluster;
  const message = conditionOf(cluster, 'Progressing')?.message ?? '';
  return `${status?.phase ?? ''} members ${status?.members?.summary ?? '0'} ${message}`.trim();
}

/** The zones in which this Kubernetes has nodes. */
async function zonesOf(): Promise<string[]> {
  const { items } = await (await kube()).list<KubernetesObject>(nodeType);
  const zones = items.flatMap((node) => node.metadata.labels?.['topology.kubernetes.io/zone'] ?? []);
  return [...new Set(zones)].toSorted();
}

/** The sample names the zones of the local cluster; elsewhere they are called otherwise, or there are fewer. */
function useZones(sample: ShardedCluster, zones: readonly string[]): void {
  const written = sample.spec.shards?.zones ?? [];
  if (zones.length === 0 || written.every((zone) => zones.includes(zone))) return;
  const renamed = (zone: string): string => zones[written.indexOf(zone) % zones.length] ?? zone;
  if (sample.spec.shards !== undefined) sample.spec.shards.zones = written.map(renamed);
  for (const table of sample.spec.tables ?? []) {
    for (const region of table.regions ?? [])
      if (region.zones !== undefined) region.zones = region.zones.map(renamed);
  }
}
