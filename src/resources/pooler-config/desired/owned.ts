import type {
  V1PodDisruptionBudgetSpec,
  V1PodSpec,
  V1ServiceSpec,
  V1StatefulSetSpec,
} from '@kubernetes/client-node';
import {
  controllerReference,
  type KubernetesObject,
  type ObjectMeta,
} from '../../../runtime/kubernetes-object.ts';
import { encoded, type Secret } from '../../sharded-cluster/desired/secrets.ts';
import { postgresPort } from '../../sharded-cluster/names.ts';
import type { PoolerConfig } from '../model.ts';
import { peersService, poolerLabels, poolerName, poolerSelector } from '../names.ts';
import { farewellSeconds } from './pod.ts';

function labels({ metadata, spec }: PoolerConfig): Record<string, string> {
  return poolerLabels(metadata.name, spec.target.cluster, spec.engine);
}

function metadata(pooler: PoolerConfig, name: string): ObjectMeta {
  return {
    name,
    namespace: pooler.metadata.namespace,
    labels: labels(pooler),
    ownerReferences: [controllerReference(pooler)],
  };
}

/** A Secret of a PoolerConfig. */
export function ownedSecret(
  pooler: PoolerConfig,
  name: string,
  content: Readonly<Record<string, string>>,
): Secret {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: metadata(pooler, name),
    type: 'Opaque',
    data: encoded(content),
  };
}

/** A Service that leads to the instances. */
export function ownedService(pooler: PoolerConfig, name: string, spec: V1ServiceSpec): KubernetesObject {
  const selector = poolerSelector(pooler.metadata.name);
  return { apiVersion: 'v1', kind: 'Service', metadata: metadata(pooler, name), spec: { ...spec, selector } };
}

/** The Service that clients connect to. What the cluster allots (addresses, ports of nodes) is left to it. */
export function clientService(pooler: PoolerConfig): KubernetesObject {
  const { type, annotations, loadBalancerClass, loadBalancerSourceRanges, externalTrafficPolicy } =
    pooler.spec.service;
  const service = ownedService(pooler, poolerName(pooler.metadata.name), {
    type,
    ports: [{ name: 'postgres', port: postgresPort, targetPort: 'postgres', protocol: 'TCP' }],
    ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
    ...(loadBalancerSourceRanges === undefined ? {} : { loadBalancerSourceRanges }),
    ...(externalTrafficPolicy === undefined ? {} : { externalTrafficPolicy }),
  });
  if (annotations === undefined) return service;
  return { ...service, metadata: { ...service.metadata, annotations } };
}

/** Nodes are drained of one instance at a time. */
export function podDisruptionBudget(pooler: PoolerConfig): KubernetesObject {
  const { name } = pooler.metadata;
  const spec: V1PodDisruptionBudgetSpec = {
    maxUnavailable: 1,
    selector: { matchLabels: poolerSelector(name) },
  };
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadata(pooler, poolerName(name)),
    spec,
  };
}

/** What differs between the StatefulSets of the engines. */
export interface InstancesOptions {
  readonly replicas: number;
  readonly pod: V1PodSpec;
  /** Annotations of the pods: another value replaces them. */
  readonly podAnnotations?: Readonly<Record<string, string>>;
  /** Annotations of the StatefulSet alone. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The instances. Another template replaces pods, one at a time, each after it has drained. */
export function statefulSet(pooler: PoolerConfig, options: InstancesOptions): KubernetesObject {
  const { name } = pooler.metadata;
  const { replicas, pod, podAnnotations, annotations } = options;
  const spec: V1StatefulSetSpec = {
    serviceName: peersService(name),
    replicas,
    podManagementPolicy: 'Parallel',
    updateStrategy: { type: 'RollingUpdate' },
    // One that is ready may take as long to get into the Service as one that goes takes to be out of it.
    minReadySeconds: farewellSeconds,
    revisionHistoryLimit: 3,
    selector: { matchLabels: poolerSelector(name) },
    template: {
      metadata: {
        labels: labels(pooler),
        ...(podAnnotations === undefined ? {} : { annotations: podAnnotations }),
      },
      spec: pod,
    },
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: {
      ...metadata(pooler, poolerName(name)),
      ...(annotations === undefined ? {} : { annotations }),
    },
    spec,
  };
}
