import type { KubeClient } from '../../runtime/kube-client.ts';
import { poolerContainer } from './desired/objects.ts';

interface PodMetrics {
  readonly metadata: { readonly name: string };
  readonly containers?: readonly { readonly name: string; readonly usage?: { readonly cpu?: string } }[];
}

/** Use of one core by each instance in per cent, by pod name; empty where there is no metrics server. */
export async function cpuPercents(
  client: Pick<KubeClient, 'request'>,
  namespace: string,
  labelSelector: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const query = new URLSearchParams({ labelSelector });
  const path = `/apis/metrics.k8s.io/v1beta1/namespaces/${encodeURIComponent(namespace)}/pods?${query}`;
  try {
    const answer = (await client.request({ method: 'GET', path, retries: 0, timeoutMs: 5_000, signal })) as {
      readonly items?: readonly PodMetrics[];
    };
    return new Map((answer.items ?? []).map((item) => [item.metadata.name, percentOf(item)]));
  } catch {
    // Without an answer the use is not known, and nothing is taken away because of it.
    return new Map();
  }
}

function percentOf({ containers = [] }: PodMetrics): number {
  const usage = containers.find((container) => container.name === poolerContainer)?.usage?.cpu ?? '0';
  return coresOf(usage) * 100;
}

const units: Readonly<Record<string, number>> = { n: 1e-9, u: 1e-6, m: 1e-3, '': 1 };

function coresOf(quantity: string): number {
  const match = /^([0-9.]+)([num]?)$/.exec(quantity);
  return match === null ? 0 : Number(match[1]) * (units[match[2] ?? ''] ?? 0);
}
