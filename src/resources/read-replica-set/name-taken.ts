import type { KubeClient } from '../../runtime/kube-client.ts';
import { type KubernetesObject, keyOf, type ResourceType } from '../../runtime/kubernetes-object.ts';
import { replicaSetLabel } from '../sharded-cluster/names.ts';
import type { ReadReplicaSet } from './model.ts';

/** Somebody else's object has the name of one that the set needs. */
export class NameTaken extends Error {}

/**
 * Throws if an object that the set is about to make is there and is another's: applied, it would become a mixture of both. One
 * that has lost its labels is still the set's by its owner, one that has lost its owner by its label.
 */
export async function requireOwn(
  client: Pick<KubeClient, 'read'>,
  { metadata: { name, uid } }: ReadReplicaSet,
  type: ResourceType,
  object: KubernetesObject,
  signal: AbortSignal,
): Promise<void> {
  const found = await client.read(type, keyOf(object), { signal });
  if (found.state === 'unknown') throw found.error;
  if (found.state === 'absent') return;
  const { labels, ownerReferences = [] } = found.value.metadata;
  if (labels?.[replicaSetLabel] === name || ownerReferences.some((owner) => owner.uid === uid)) return;
  throw new NameTaken(
    `${object.kind} ${object.metadata.name} is there and is not of this set: delete it, or give the set another name`,
  );
}
