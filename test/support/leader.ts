import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { leaseType, podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';
import { operatorNamespace } from './operator.ts';
import { waitFor } from './wait.ts';

interface Lease extends KubernetesObject {
  spec?: { holderIdentity?: string };
}

/** The pod of the operator that works; the identity in the lease begins with its name. */
export async function leaderPod(): Promise<KubernetesObject> {
  return waitFor('a pod of the operator leads', async () => {
    const lease = await (await kube()).get<Lease>(leaseType, {
      namespace: operatorNamespace,
      name: 'herdsman',
    });
    const identity = lease?.spec?.holderIdentity ?? '';
    const { items } = await (await kube()).list(podType, { namespace: operatorNamespace });
    const pod = items.find(({ metadata }) => identity.startsWith(metadata.name));
    return pod === undefined ? { state: identity } : { done: pod };
  });
}

/** Waits until another pod than this one leads. */
export async function waitForSuccessor(before: KubernetesObject): Promise<void> {
  await waitFor(
    'another leader',
    async () => {
      const now = await leaderPod();
      return now.metadata.uid === before.metadata.uid ? { state: now.metadata.name } : { done: true };
    },
    { everyMs: 100 },
  );
}
