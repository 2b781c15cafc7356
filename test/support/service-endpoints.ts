import { createInformer } from '../../src/runtime/informer.ts';
import type { KubernetesObject, ResourceType } from '../../src/runtime/kubernetes-object.ts';
import { kube } from './cluster.ts';

interface EndpointSlice extends KubernetesObject {
  endpoints?: { addresses: string[]; conditions?: { ready?: boolean } }[];
}

const endpointSliceType: ResourceType = {
  group: 'discovery.k8s.io',
  version: 'v1',
  plural: 'endpointslices',
  kind: 'EndpointSlice',
  namespaced: true,
};

/** Where a Service has led. */
export interface ServiceEndpoints {
  /** The addresses of ready endpoints after each change, the first ones first; one set follows another that differs. */
  history(): readonly (readonly string[])[];
  stop(): void;
}

/** Follows the endpoints of a Service that has one slice, as kube-proxy does. */
export async function followEndpoints(namespace: string, service: string): Promise<ServiceEndpoints> {
  const history: string[][] = [];
  const ending = new AbortController();
  const slices = createInformer<EndpointSlice>(
    {
      type: endpointSliceType,
      namespaces: [namespace],
      labelSelector: `kubernetes.io/service-name=${service}`,
    },
    { client: await kube() },
  );
  slices.onChange(({ current }) => {
    const ready = current?.endpoints?.filter(({ conditions }) => conditions?.ready !== false) ?? [];
    const addresses = ready.flatMap((endpoint) => endpoint.addresses).sort();
    if (history.at(-1)?.join() !== addresses.join()) history.push(addresses);
  });
  slices.start(ending.signal);
  await slices.waitForSync(AbortSignal.any([ending.signal, AbortSignal.timeout(10_000)]));
  return { history: () => history, stop: () => ending.abort() };
}
