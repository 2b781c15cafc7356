import type { ReadReplicaSetSpec, ReadReplicaSetStatus } from '../../api/v1alpha1/read-replica-set.ts';
import type { KubernetesObject, ObjectMeta } from '../../runtime/kubernetes-object.ts';

/** A ReadReplicaSet as the API server sends it, with `spec` parsed and its defaults filled in. */
export interface ReadReplicaSet extends KubernetesObject {
  metadata: ObjectMeta & { namespace: string; uid: string };
  spec: ReadReplicaSetSpec;
  status?: ReadReplicaSetStatus;
}
