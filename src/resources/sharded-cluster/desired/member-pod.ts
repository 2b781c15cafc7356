import type {
  V1Affinity,
  V1Container,
  V1EnvVar,
  V1Lifecycle,
  V1PersistentVolumeClaim,
  V1PodSpec,
  V1Probe,
  V1Volume,
  V1VolumeMount,
} from '@kubernetes/client-node';
import type { ShardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { claimTemplate, patroniPort, postgresPort } from '../names.ts';
import { imagePullSecrets } from './image-pull-secrets.ts';
import { socketDirectory, tlsDirectory } from './parameters.ts';
import { configDirectory, volumeDirectory } from './patroni-config.ts';
import { containerSecurity, podSecurity } from './pod-security.ts';
import { definedResources, withoutUndefined } from './resources.ts';

/** What the pods of one StatefulSet of members have of their own. */
export interface MemberPod {
  readonly serviceAccount: string;
  /** Labels that select just these pods: they are kept apart. */
  readonly selector: Readonly<Record<string, string>>;
  readonly image: string;
  readonly imagePullSecrets: ShardedClusterSpec['imagePullSecrets'];
  /** Name of the ConfigMap with `patroni.yml`. */
  readonly configMap: string;
  /** Name of the Secret with the certificates. */
  readonly tlsSecret: string;
  readonly resources: ShardedClusterSpec['resources'];
  readonly placement: ShardedClusterSpec['placement'];
  /** What a member does before it is stopped, and the seconds that it takes at most. */
  readonly drain?: { readonly lifecycle: V1Lifecycle; readonly seconds: number };
}

/** Name of the container that runs Patroni and PostgreSQL. */
export const memberContainer = 'postgres';

/** Seconds that a member gets to write its checkpoint, send the last WAL and hand over, before it is ended. */
const terminationGracePeriod = 120;

/** The pods of members: of a shard, or of a set of read replicas. */
export function memberPodSpec(pod: MemberPod): V1PodSpec {
  const { placement } = pod;
  return {
    serviceAccountName: pod.serviceAccount,
    automountServiceAccountToken: true,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: terminationGracePeriod + (pod.drain?.seconds ?? 0),
    securityContext: podSecurity,
    affinity: affinity(pod),
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: 'topology.kubernetes.io/zone',
        whenUnsatisfiable: 'ScheduleAnyway',
        labelSelector: { matchLabels: { ...pod.selector } },
      },
    ],
    ...(Object.keys(placement.nodeSelector).length > 0 ? { nodeSelector: placement.nodeSelector } : {}),
    ...(placement.tolerations.length > 0 ? { tolerations: placement.tolerations.map(withoutUndefined) } : {}),
    ...imagePullSecrets(pod.imagePullSecrets),
    containers: [container(pod)],
    volumes: volumes(pod),
  };
}

function affinity({ placement, selector }: MemberPod): V1Affinity {
  const term = {
    topologyKey: 'kubernetes.io/hostname',
    labelSelector: { matchLabels: { ...selector } },
  };
  return {
    podAntiAffinity:
      placement.antiAffinity === 'required'
        ? { requiredDuringSchedulingIgnoredDuringExecution: [term] }
        : { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: term }] },
  };
}

function container(pod: MemberPod): V1Container {
  return {
    name: memberContainer,
    image: pod.image,
    imagePullPolicy: 'IfNotPresent',
    env: environment(),
    ports: [
      { name: 'postgres', containerPort: postgresPort, protocol: 'TCP' },
      { name: 'patroni', containerPort: patroniPort, protocol: 'TCP' },
    ],
    resources: definedResources(pod.resources),
    securityContext: containerSecurity,
    // Patroni answers from its first second on, also while a volume is filled for hours: no probe waits for data.
    startupProbe: probe('/liveness', { periodSeconds: 1, failureThreshold: 120 }),
    // What hangs does not end in an orderly way either, so it is not waited for as long as for a healthy member.
    livenessProbe: {
      ...probe('/liveness', { periodSeconds: 10, failureThreshold: 3 }),
      terminationGracePeriodSeconds: 15,
    },
    readinessProbe: probe('/readiness', { periodSeconds: 2, failureThreshold: 2 }),
    volumeMounts: mounts,
    ...(pod.drain === undefined ? {} : { lifecycle: pod.drain.lifecycle }),
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

const mounts: V1VolumeMount[] = [
  { name: claimTemplate, mountPath: volumeDirectory },
  { name: 'config', mountPath: configDirectory, readOnly: true },
  { name: 'tls', mountPath: tlsDirectory, readOnly: true },
  { name: 'run', mountPath: socketDirectory },
  { name: 'tmp', mountPath: '/tmp' },
  { name: 'shm', mountPath: '/dev/shm' },
];

function volumes(pod: MemberPod): V1Volume[] {
  return [
    { name: 'config', configMap: { name: pod.configMap, defaultMode: 0o444 } },
    // Keys that belong to root and are readable by the pod's group are what PostgreSQL and libpq accept.
    { name: 'tls', secret: { secretName: pod.tlsSecret, defaultMode: 0o440 } },
    { name: 'run', emptyDir: {} },
    { name: 'tmp', emptyDir: {} },
    // Parallel workers share memory here; a container runtime's own is 64 MiB, whatever the pod's limit.
    { name: 'shm', emptyDir: { medium: 'Memory' } },
  ];
}

/** The template of the members' volumes. */
export function memberClaim(
  labels: Readonly<Record<string, string>>,
  { size, storageClassName }: ShardedClusterSpec['storage'],
): V1PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: claimTemplate, labels: { ...labels } },
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
      ...(storageClassName === undefined ? {} : { storageClassName }),
      resources: { requests: { storage: size } },
    },
  };
}
