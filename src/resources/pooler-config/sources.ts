import { type IndexFunction, labelIndex } from '../../runtime/cache.ts';
import { createInformer, type Informer, type InformerDependencies } from '../../runtime/informer.ts';
import { keyString } from '../../runtime/kubernetes-object.ts';
import { podType } from '../../runtime/kubernetes-types.ts';
import type { Followed } from '../../runtime/namespaces.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import { clusterLabel, componentLabel, managedByLabel } from '../sharded-cluster/names.ts';
import { poolerConfigType } from './kinds.ts';
import type { PoolerConfig } from './model.ts';
import { poolerLabel } from './names.ts';

/** What is followed for poolers, beside what is followed for clusters. */
export interface PoolerSources {
  readonly poolers: Informer<PoolerConfig>;
  readonly pods: Informer<Pod>;
}

/** Index of PoolerConfigs by the cluster that they stand in front of. */
export const byTarget = 'target';
/** Index of pods by the PoolerConfig that they belong to. */
export const byPooler = 'pooler';
/** Index of pods by the cluster that they are connected to. */
export const byCluster = 'cluster';

/** Informers for the given namespaces, or for all. */
export function createPoolerSources(
  namespaces: readonly string[] | undefined,
  dependencies: InformerDependencies,
): PoolerSources {
  return {
    poolers: createInformer<PoolerConfig>(
      { type: poolerConfigType, namespaces, indexes: { [byTarget]: targetIndex } },
      dependencies,
    ),
    pods: createInformer<Pod>(
      {
        type: podType,
        namespaces,
        labelSelector: `${managedByLabel}=herdsman,${componentLabel}=pooler`,
        indexes: { [byPooler]: labelIndex(poolerLabel), [byCluster]: labelIndex(clusterLabel) },
      },
      dependencies,
    ),
  };
}

/** All informers, to start and to wait for. */
export function allPoolerInformers({ poolers, pods }: PoolerSources): readonly Followed[] {
  return [poolers, pods];
}

const targetIndex: IndexFunction<PoolerConfig> = ({ metadata, spec }) => [
  keyString({ namespace: metadata.namespace ?? '', name: spec.target?.cluster ?? '' }),
];
