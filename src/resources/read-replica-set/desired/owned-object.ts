import { controllerReference, type ObjectMeta } from '../../../runtime/kubernetes-object.ts';
import type { ReadReplicaSet } from '../model.ts';
import { setLabels } from '../names.ts';

/** Metadata of an object of a set in a shard; it goes when the set goes. */
export function ownedMetadata(set: ReadReplicaSet, shard: string, name: string): ObjectMeta {
  return {
    name,
    namespace: set.metadata.namespace,
    labels: setLabels(set.spec.cluster, set.metadata.name, shard),
    ownerReferences: [controllerReference(set)],
  };
}
