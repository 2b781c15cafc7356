import type {
  V1Affinity,
  V1Container,
  V1EnvVar,
  V1PersistentVolumeClaim,
  V1PodSpec,
  V1Probe,
  V1StatefulSetSpec,
  V1Volume,
  V1VolumeMount,
} from '@kubernetes/client-node';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import {
  claimTemplate,
  headlessService,
  memberLabels,
  memberSelector,
  patroniConfigMap,
  patroniPort,
  postgresPort,
  scope,
  shardTlsSecret,
} from '../names.ts';
import { ownedMetadata } from './owned-object.ts';
import { socketDirectory, tlsDirectory } from './parameters.ts';
import { configDirectory, volumeDirectory } from './patroni-config.ts';

/** An apps/v1 StatefulSet. */
export interface StatefulSet extends KubernetesObject {
  spec: V1StatefulSetSpec;
}

/** What is not in the ShardedCluster's own spec. */
export interface StatefulSetOptions {
  /** Image of the members. */
  readonly image: string;
  /** Number of members; default `spec.members`. Members are added and removed in an order that the plan decides. */
  readonly members?: number;
}

/** Ids of the image's `postgres` user and group. */
const userId = 100;
const groupId = 102;

/** Name of the container that runs Patroni and PostgreSQL. */
export const memberContainer = 'postgres';

/** Seconds that a member gets to write its checkpoint, send the last WAL and hand over, before it is ended. */
const terminationGracePeriod = 120;

/** The members of a shard. The operator restarts them itself (OnDelete), and no volume goes with a member. */
export function statefulSet(
  cluster: ShardedCluster,
  shard: string,
  options: StatefulSetOptions,
): StatefulSet {
  const name = cluster.metadata.name;
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: ownedMetadata(cluster, shard, scope(name, shard)),
    spec: {
      serviceName: headlessService(name, shard),
      replicas: options.members ?? cluster.spec.members,
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'OnDelete' },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
      revisionHistoryLimit: 3,
      selector: { matchLabels: memberSelector(name, shard) },
      template: {
        metadata: { labels: memberLabels(name, shard) },
        spec: podSpec(cluster, shard, options.image),
      },
      volumeClaimTemplates: [claim(cluster, shard)],
    },
  };
}

function podSpec(cluster: ShardedCluster, shard: string, image: string): V1PodSpec {
  const name = cluster.metadata.name;
  const { placement } = cluster.spec;
  return {
    serviceAccountName: scope(name, shard),
    automountServiceAccountToken: true,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: terminationGracePeriod,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: userId,
      runAsGroup: groupId,
      fsGroup: groupId,
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    },
    affinity: affinity(cluster, shard),
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: 'topology.kubernetes.io/zone',
        whenUnsatisfiable: 'ScheduleAnyway',
        labelSelector: { matchLabels: memberSelector(name, shard) },
      },
    ],
    ...(Object.keys(placement.nodeSelector).length > 0 ? { nodeSelector: placement.nodeSelector } : {}),
    ...(placement.tolerations.length > 0 ? { tolerations: placement.tolerations.map(withoutUndefined) } : {}),
    containers: [container(cluster, image)],
    volumes: volumes(name, shard),
  };
}

function affinity(cluster: ShardedCluster, shard: string): V1Affinity {
  const term = {
    topologyKey: 'kubernetes.io/hostname',
    labelSelector: { matchLabels: memberSelector(cluster.metadata.name, shard) },
  };
  return {
    podAntiAffinity:
      cluster.spec.placement.antiAffinity === 'required'
        ? { requiredDuringSchedulingIgnoredDuringExecution: [term] }
        : { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: term }] },
  };
}

function container(cluster: ShardedCluster, image: string): V1Container {
  return {
    name: memberContainer,
    image,
    imagePullPolicy: 'IfNotPresent',
    env: environment(),
    ports: [
      { name: 'postgres', containerPort: postgresPort, protocol: 'TCP' },
      { name: 'patroni', containerPort: patroniPort, protocol: 'TCP' },
    ],
    resources: resources(cluster),
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
    },
    // Patroni answers from its first second on, also while a volume is filled for hours: no probe waits for data.
    startupProbe: probe('/liveness', { periodSeconds: 1, failureThreshold: 120 }),
    // What hangs does not end in an orderly way either, so it is not waited for as long as for a healthy member.
    livenessProbe: {
      ...probe('/liveness', { periodSeconds: 10, failureThreshold: 3 }),
      terminationGracePeriodSeconds: 15,
    },
    readinessProbe: probe('/readiness', { periodSeconds: 2, failureThreshold: 2 }),
    volumeMounts: mounts,
  };
}

function probe(path: string, timing: { periodSeconds: number; failureThreshold: number }): V1Probe {
  return {
    httpGet: { path, port: 'patroni', scheme: 'HTTPS' },
    timeoutSeconds: 5,
    successThreshold: 1,
    ...timing,
  };
}

function environment(): V1EnvVar[] {
  return [
    fromField('PATRONI_NAME', 'metadata.name'),
    fromField('PATRONI_KUBERNETES_POD_IP', 'status.podIP'),
    {
      name: 'PATRONI_POSTGRESQL_CONNECT_ADDRESS',
      value: `$(PATRONI_KUBERNETES_POD_IP):${postgresPort}`,
    },
    { name: 'PATRONI_RESTAPI_CONNECT_ADDRESS', value: `$(PATRONI_KUBERNETES_POD_IP):${patroniPort}` },
  ];
}

function fromField(name: string, fieldPath: string): V1EnvVar {
  return { name, valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } } };
}

function resources(cluster: ShardedCluster): NonNullable<V1Container['resources']> {
  const { requests, limits } = cluster.spec.resources;
  return {
    ...(requests === undefined ? {} : { requests: withoutUndefined(requests) }),
    ...(limits === undefined ? {} : { limits: withoutUndefined(limits) }),
  };
}

const mounts: V1VolumeMount[] = [
  { name: claimTemplate, mountPath: volumeDirectory },
  { name: 'config', mountPath: configDirectory, readOnly: true },
  { name: 'tls', mountPath: tlsDirectory, readOnly: true },
  { name: 'run', mountPath: socketDirectory },
  { name: 'tmp', mountPath: '/tmp' },
  { name: 'shm', mountPath: '/dev/shm' },
];

function volumes(cluster: string, shard: string): V1Volume[] {
  return [
    { name: 'config', configMap: { name: patroniConfigMap(cluster, shard), defaultMode: 0o444 } },
    // Keys that belong to root and are readable by the pod's group are what PostgreSQL and libpq accept.
    { name: 'tls', secret: { secretName: shardTlsSecret(cluster, shard), defaultMode: 0o440 } },
    { name: 'run', emptyDir: {} },
    { name: 'tmp', emptyDir: {} },
    // Parallel workers share memory here; a container runtime's own is 64 MiB, whatever the pod's limit.
    { name: 'shm', emptyDir: { medium: 'Memory' } },
  ];
}

function claim(cluster: ShardedCluster, shard: string): V1PersistentVolumeClaim {
  const { size, storageClassName } = cluster.spec.storage;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: claimTemplate, labels: memberLabels(cluster.metadata.name, shard) },
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
      ...(storageClassName === undefined ? {} : { storageClassName }),
      resources: { requests: { storage: size } },
    },
  };
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** The record without the keys whose value is undefined, which JSON would drop as well. */
function withoutUndefined<T extends object>(record: T): Defined<T> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Defined<T>;
}
