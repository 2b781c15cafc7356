import type { ShardMoveSpec, ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import type { KubernetesObject, ObjectMeta } from '../../runtime/kubernetes-object.ts';

/** A ShardMove as the API server sends it, with `spec` parsed and its defaults filled in. */
export interface ShardMove extends KubernetesObject {
  metadata: ObjectMeta & { namespace: string; uid: string };
  spec: ShardMoveSpec;
  status?: ShardMoveStatus;
}
