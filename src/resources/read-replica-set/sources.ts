import { labelIndex } from '../../runtime/cache.ts';
import { createInformer, type Informer, type InformerDependencies } from '../../runtime/informer.ts';
import type { KubernetesObject, ResourceType } from '../../runtime/kubernetes-object.ts';
import {
  configMapType,
  persistentVolumeClaimType,
  podDisruptionBudgetType,
  podType,
  roleBindingType,
  roleType,
  serviceAccountType,
  serviceType,
  statefulSetType,
} from '../../runtime/kubernetes-types.ts';
import type { Followed } from '../../runtime/namespaces.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import { componentLabel, managedByLabel, replicaSetLabel } from '../sharded-cluster/names.ts';
import { slimPod } from '../sharded-cluster/sources.ts';

/** What belongs to sets, followed by watches; the sets themselves and the clusters are among the clusters' sources. */
export interface ReplicaSources {
  readonly statefulSets: Informer<StatefulSet>;
  readonly pods: Informer<Pod>;
  readonly claims: Informer<PersistentVolumeClaim>;
  /** Owned objects that are only compared with what is wanted. */
  readonly plain: readonly Informer<KubernetesObject>[];
}

/** Name of the index that finds objects by the set that they belong to; its values are `namespace/name`. */
export const bySet = 'set';

/** Informers for the given namespaces, or for all; limited by label to what belongs to sets. */
export function createReplicaSources(
  namespaces: readonly string[] | undefined,
  dependencies: InformerDependencies,
): ReplicaSources {
  const ours = `${managedByLabel}=herdsman,${replicaSetLabel}`;
  function informer<T extends KubernetesObject>(
    type: ResourceType,
    labelSelector = ours,
    transform?: (object: T) => T,
  ): Informer<T> {
    return createInformer<T>(
      { type, namespaces, labelSelector, transform, indexes: { [bySet]: labelIndex(replicaSetLabel) } },
      dependencies,
    );
  }
  return {
    statefulSets: informer<StatefulSet>(statefulSetType),
    pods: informer<Pod>(podType, `${ours},${componentLabel}=replica`, slimPod),
    claims: informer<PersistentVolumeClaim>(persistentVolumeClaimType),
    plain: [
      informer(configMapType),
      informer(podDisruptionBudgetType),
      informer(roleBindingType),
      informer(roleType),
      informer(serviceAccountType),
      informer(serviceType),
    ],
  };
}

/** All informers, to start and to wait for. */
export function allReplicaInformers(sources: ReplicaSources): readonly Followed[] {
  const { statefulSets, pods, claims, plain } = sources;
  return [statefulSets, pods, claims, ...plain];
}
