import type { V1PodSpec } from '@kubernetes/client-node';
import { durationMs } from '../../../../api/v1alpha1/duration.ts';
import type { KeyPair } from '../../../../pki/key-pair.ts';
import type { KubernetesObject } from '../../../../runtime/kubernetes-object.ts';
import { memberClaim, memberContainer, memberPodSpec } from '../../../sharded-cluster/desired/member-pod.ts';
import { serverParameters, socketDirectory } from '../../../sharded-cluster/desired/parameters.ts';
import { type ConfigMap, configDirectory } from '../../../sharded-cluster/desired/patroni-config.ts';
import { encoded, type Secret } from '../../../sharded-cluster/desired/secrets.ts';
import type { StatefulSet } from '../../../sharded-cluster/desired/stateful-set.ts';
import type { ShardedCluster } from '../../../sharded-cluster/model.ts';
import { postgresPort } from '../../../sharded-cluster/names.ts';
import { serviceAccount } from '../../desired/access.ts';
import { ownedMetadata } from '../../desired/owned-object.ts';
import { headlessService, readService } from '../../desired/services.ts';
import { drainScript, replicaDisruptionBudget } from '../../desired/stateful-set.ts';
import type { ReadReplicaSet } from '../../model.ts';
import { replicaLabels, replicaSelector, replicasName } from '../../names.ts';
import { modelConfigMap, modelPart, modelTlsSecret } from '../names.ts';
import { startScript } from './start-script.ts';

/** What is not in the specs. */
export interface ModelOptions {
  readonly image: string;
  /** `undefined`: there is no StatefulSet yet. */
  readonly members: number | undefined;
  /** Parameters in which members differ from the cluster. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** The objects of a read model, in order of creation. */
export function modelObjects(
  set: ReadReplicaSet,
  cluster: ShardedCluster,
  options: ModelOptions,
): KubernetesObject[] {
  return [
    serviceAccount(set, modelPart),
    serverConfig(set, cluster, options.parameters),
    headlessService(set, modelPart),
    readService(set, modelPart, false),
    replicaDisruptionBudget(set, modelPart),
    ...(options.members === undefined ? [] : [statefulSet(set, cluster, options.image, options.members)]),
  ];
}

/** More than any cluster has shards: a subscription takes a worker and an origin, its copy two workers. */
const roomForStreams: Readonly<Record<string, string>> = {
  max_replication_slots: '300',
  max_logical_replication_workers: '300',
  max_worker_processes: '320',
  max_sync_workers_per_subscription: '2',
  // What follows it are sessions only; and nothing has to be restored that the shards do not have.
  wal_level: 'minimal',
  max_wal_senders: '0',
  synchronous_commit: 'off',
};

function serverConfig(
  set: ReadReplicaSet,
  cluster: ShardedCluster,
  parameters: Readonly<Record<string, string>>,
): ConfigMap {
  const all = {
    ...serverParameters(cluster.spec),
    ...parameters,
    ...roomForStreams,
    listen_addresses: '*',
    port: String(postgresPort),
    unix_socket_directories: socketDirectory,
  };
  const lines = Object.entries(all)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name} = '${value.replaceAll("'", "''").replaceAll('\\', '\\\\')}'\n`);
  const hba = [
    'local all all peer',
    'hostssl all herdsman all cert',
    'host all,replication postgres,replication,rewind,herdsman,herdsman_pooler all reject',
    `${cluster.spec.tls.required ? 'hostssl' : 'host'} all all all scram-sha-256`,
  ];
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: ownedMetadata(set, modelPart, modelConfigMap(set.metadata.name)),
    data: {
      'postgresql.conf': lines.join(''),
      'pg_hba.conf': `${hba.join('\n')}\n`,
      start: startScript,
    },
  };
}

function statefulSet(
  set: ReadReplicaSet,
  cluster: ShardedCluster,
  image: string,
  members: number,
): StatefulSet {
  const { name } = set.metadata;
  const labels = replicaLabels(set.spec.cluster, name, modelPart);
  const storage = { ...cluster.spec.storage, ...set.spec.storage };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: ownedMetadata(set, modelPart, replicasName(name, modelPart)),
    spec: {
      serviceName: replicasName(name, modelPart),
      replicas: members,
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'OnDelete' },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
      revisionHistoryLimit: 3,
      selector: { matchLabels: replicaSelector(name, modelPart) },
      template: { metadata: { labels }, spec: podSpec(set, cluster, image) },
      volumeClaimTemplates: [memberClaim(labels, storage)],
    },
  };
}

/** A pod as other members have it, but for what it runs and for Patroni, which it does not. */
function podSpec(set: ReadReplicaSet, cluster: ShardedCluster, image: string): V1PodSpec {
  const { name } = set.metadata;
  const seconds = Math.ceil((durationMs(set.spec.drainGrace) ?? 0) / 1_000);
  const spec = memberPodSpec({
    serviceAccount: replicasName(name, modelPart),
    selector: replicaSelector(name, modelPart),
    image,
    imagePullSecrets: set.spec.imagePullSecrets ?? cluster.spec.imagePullSecrets,
    configMap: modelConfigMap(name),
    tlsSecret: modelTlsSecret(name),
    resources: set.spec.resources ?? cluster.spec.resources,
    placement: cluster.spec.placement,
    drain: {
      seconds,
      lifecycle: { preStop: { exec: { command: ['/bin/sh', '-c', drainScript(seconds)] } } },
    },
  });
  return {
    ...spec,
    automountServiceAccountToken: false,
    containers: spec.containers.map((container) => {
      const {
        startupProbe: _startup,
        livenessProbe: _liveness,
        readinessProbe: _readiness,
        env: _env,
        ...rest
      } = container;
      if (rest.name !== memberContainer) return container;
      return {
        ...rest,
        args: ['/bin/sh', `${configDirectory}/start`],
        ports: (rest.ports ?? []).filter((port) => port.name === 'postgres'),
        readinessProbe: {
          exec: { command: ['/usr/lib/postgresql/17/bin/pg_isready', '-q', '-h', socketDirectory] },
          periodSeconds: 2,
          failureThreshold: 2,
          timeoutSeconds: 5,
          successThreshold: 1,
        },
      };
    }),
  };
}

/** Secret of the members: what they serve with, and by what they verify the shards. */
export function modelTlsSecretObject(set: ReadReplicaSet, server: KeyPair, bundle: string): Secret {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: ownedMetadata(set, modelPart, modelTlsSecret(set.metadata.name)),
    type: 'Opaque',
    data: encoded({ 'ca.crt': bundle, 'tls.crt': server.certificate, 'tls.key': server.key }),
  };
}
