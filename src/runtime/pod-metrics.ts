import type { KubeClient } from './kube-client.ts';
import { type Reading, readingOf } from './reading.ts';

interface PodMetrics {
  readonly metadata: { readonly name: string };
  readonly containers?: readonly { readonly name?: string; readonly usage?: { readonly cpu?: string } }[];
}

/**
 * Cores that pods use, by pod name, all their containers together or the one that is named; `unknown` where no metrics server
 * answers.
 */
export function readPodCores(
  client: Pick<KubeClient, 'request'>,
  namespace: string,
  labelSelector: string,
  signal: AbortSignal,
  container?: string,
): Promise<Reading<ReadonlyMap<string, number>>> {
  const query = new URLSearchParams({ labelSelector });
  const path = `/apis/metrics.k8s.io/v1beta1/namespaces/${encodeURIComponent(namespace)}/pods?${query}`;
  return readingOf(async () => {
    const answer = await client.request({ method: 'GET', path, retries: 0, timeoutMs: 3_000, signal });
    return podCores(answer as { readonly items?: readonly PodMetrics[] }, container);
  });
}

/** What a PodMetricsList says. */
export function podCores(
  { items = [] }: { readonly items?: readonly PodMetrics[] },
  container?: string,
): Map<string, number> {
  return new Map(
    items.map(({ metadata, containers = [] }) => [
      metadata.name,
      containers
        .filter(({ name }) => container === undefined || name === container)
        .reduce((sum, { usage }) => sum + cores(usage?.cpu ?? '0'), 0),
    ]),
  );
}

/** Metrics servers count in nanocores and microcores, too. */
const units: Readonly<Record<string, number>> = { n: 1e-9, u: 1e-6, m: 1e-3, '': 1 };

function cores(quantity: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([num]?)$/.exec(quantity);
  return match === null ? 0 : Number(match[1]) * (units[match[2] ?? ''] ?? 0);
}
