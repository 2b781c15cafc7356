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
import type { ReadReplicaSet } from '../read-replica-set/model.ts';
import type { ShardMove } from '../shard-move/model.ts';
import { readReplicaSetType, shardedClusterType, shardMapType, shardMoveType } from './kinds.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from './kubernetes.ts';
import type { ShardedCluster, ShardMapObject } from './model.ts';
import { clusterLabel, componentLabel, managedByLabel, replicaSetLabel, scopeLabel } from './names.ts';

/** Everything the controller follows by watches. Secrets are not among it: they are read by name. */
export interface Sources {
  readonly clusters: Informer<ShardedCluster>;
  readonly maps: Informer<ShardMapObject>;
  /** The sets whose Services the shards' certificates are valid for as well. */
  readonly replicaSets: Informer<ReadReplicaSet>;
  readonly moves: Informer<ShardMove>;
  readonly statefulSets: Informer<StatefulSet>;
  readonly pods: Informer<Pod>;
  readonly claims: Informer<PersistentVolumeClaim>;
  /** Owned objects that are only compared with what is wanted. */
  readonly plain: readonly Informer<KubernetesObject>[];
}

/** Name of the index that finds objects by the ShardedCluster that they belong to. */
export const byCluster = 'cluster';

/** Value of the index for a cluster. */
export function clusterIndexValue(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

/** Informers for the given namespaces, or for all; limited by label to what is ours. */
export function createSources(
  namespaces: readonly string[] | undefined,
  dependencies: InformerDependencies,
): Sources {
  const ours = `${managedByLabel}=herdsman,!${replicaSetLabel}`;
  // Patroni writes its ConfigMaps every few seconds; they carry its scope and are left out.
  const configuration = `${ours},!${scopeLabel}`;
  function informer<T extends KubernetesObject>(
    type: ResourceType,
    labelSelector?: string,
    transform?: (object: T) => T,
  ): Informer<T> {
    return createInformer<T>(
      { type, namespaces, labelSelector, transform, indexes: { [byCluster]: labelIndex(clusterLabel) } },
      dependencies,
    );
  }
  return {
    clusters: informer<ShardedCluster>(shardedClusterType),
    maps: informer<ShardMapObject>(shardMapType),
    replicaSets: createInformer<ReadReplicaSet>(
      { type: readReplicaSetType, namespaces, indexes: { [byCluster]: clusterOfSet } },
      dependencies,
    ),
    moves: createInformer<ShardMove>(
      { type: shardMoveType, namespaces, indexes: { [byCluster]: clusterOfMove } },
      dependencies,
    ),
    statefulSets: informer<StatefulSet>(statefulSetType, ours),
    pods: informer<Pod>(podType, `${ours},${componentLabel}=member`, slimPod),
    claims: informer<PersistentVolumeClaim>(persistentVolumeClaimType, ours),
    plain: [
      informer(configMapType, configuration),
      informer(podDisruptionBudgetType, ours),
      informer(roleBindingType, ours),
      informer(roleType, ours),
      informer(serviceAccountType, ours),
      informer(serviceType, ours),
    ],
  };
}

/** All informers, to start and to wait for. */
export function allInformers(sources: Sources): readonly Followed[] {
  const { clusters, maps, replicaSets, moves, statefulSets, pods, claims, plain } = sources;
  return [clusters, maps, replicaSets, moves, statefulSets, pods, claims, ...plain];
}

function clusterOfSet({ metadata, spec }: ReadReplicaSet): string[] {
  return [clusterIndexValue(metadata.namespace, spec.cluster)];
}

/** A user's own ShardMoves carry no label. */
function clusterOfMove({ metadata, spec }: ShardMove): string[] {
  return [clusterIndexValue(metadata.namespace, spec.cluster)];
}

/** Patroni writes an annotation to its pod at every beat; what a plan does not read is dropped. */
export function slimPod(pod: Pod): Pod {
  const { annotations: _annotations, ...metadata } = pod.metadata;
  return {
    apiVersion: pod.apiVersion,
    kind: pod.kind,
    metadata,
    spec: { ...(pod.spec?.nodeName === undefined ? {} : { nodeName: pod.spec.nodeName }) },
    status: {
      ...(pod.status?.phase === undefined ? {} : { phase: pod.status.phase }),
      ...(pod.status?.podIP === undefined ? {} : { podIP: pod.status.podIP }),
      conditions: pod.status?.conditions ?? [],
      containerStatuses: pod.status?.containerStatuses ?? [],
    },
  };
}
