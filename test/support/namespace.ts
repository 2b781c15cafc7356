import { randomBytes } from 'node:crypto';
import { namespaceType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';

/** A name that no other namespace for the topic has. */
export function namespaceName(topic: string): string {
  return `t-${topic}-${randomBytes(3).toString('hex')}`;
}

/** Makes a namespace of its own for a topic, in which only restricted pods are admitted. */
export async function createNamespace(topic: string, name = namespaceName(topic)): Promise<string> {
  await (await kube()).create(namespaceType, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      labels: {
        'herdsman.dev/test': topic,
        'pod-security.kubernetes.io/enforce': 'restricted',
        'pod-security.kubernetes.io/enforce-version': 'latest',
      },
    },
  });
  return name;
}

/** Deletes a namespace with all that is in it; `KEEP=1` leaves it for a person to look at. */
export async function deleteNamespace(name: string): Promise<void> {
  if (process.env.KEEP === '1') return;
  await (await kube()).delete(namespaceType, { namespace: '', name });
}
