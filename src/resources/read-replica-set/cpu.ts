import type { ReadReplicaSetSpec } from '../../api/v1alpha1/read-replica-set.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { readingOf } from '../../runtime/reading.ts';
import { millicoresOf } from '../sharded-cluster/desired/quantity.ts';
import type { CpuUse } from './load.ts';

/** What a server in Go has none of, it may write as null. */
interface PodMetrics {
  readonly metadata: { readonly name: string };
  readonly containers?: readonly { readonly name: string; readonly usage: { readonly cpu: string } }[] | null;
}

/** What each member uses of its CPU, from metrics.k8s.io. */
export async function readCpuUse(
  client: Pick<KubeClient, 'request'>,
  namespace: string,
  selector: string,
  resources: NonNullable<ReadReplicaSetSpec['resources']>,
  signal: AbortSignal,
): Promise<CpuUse> {
  const whole = millicoresOf(resources.requests?.cpu ?? resources.limits?.cpu ?? '0');
  if (whole === 0) return 'members have no CPU request to compare with: set spec.resources.requests.cpu';
  const query = new URLSearchParams({ labelSelector: selector });
  const path = `/apis/metrics.k8s.io/v1beta1/namespaces/${namespace}/pods?${query}`;
  const reading = await readingOf(async () => {
    const answer = await client.request({ method: 'GET', path, signal, timeoutMs: 3_000 });
    const { items } = answer as { readonly items?: readonly PodMetrics[] | null };
    // A pod of which no container is known is not known.
    return (items ?? []).flatMap(({ metadata, containers }): (readonly [string, number])[] => {
      if (containers === undefined || containers === null || containers.length === 0) return [];
      const used = containers.reduce((sum, { usage }) => sum + usedMillicores(usage.cpu), 0);
      return [[metadata.name, (used / whole) * 100]];
    });
  });
  return reading.state === 'present'
    ? new Map(reading.value)
    : 'metrics.k8s.io does not answer as it should: is a metrics server installed?';
}

/** Metrics servers count in nanocores and microcores, which no spec does. */
function usedMillicores(text: string): number {
  if (text.endsWith('n')) return Number(text.slice(0, -1)) / 1_000_000;
  if (text.endsWith('u')) return Number(text.slice(0, -1)) / 1_000;
  return millicoresOf(text);
}
