import { dump } from 'js-yaml';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import {
  patroniConfigMap,
  patroniPort,
  postgresPort,
  roleLabel,
  scope,
  scopeLabel,
  shardLabels,
} from '../names.ts';
import { dynamicConfig } from './dynamic-config.ts';
import { ownedMetadata } from './owned-object.ts';
import { socketDirectory, tlsDirectory } from './parameters.ts';

/** Directory of the volume in a member. */
export const volumeDirectory = '/var/lib/postgresql/data';
/** Directory of `patroni.yml` in a member. */
export const configDirectory = '/etc/herdsman/config';

/** The ConfigMap with `patroni.yml`. */
export interface ConfigMap extends KubernetesObject {
  data: Record<string, string>;
}

/** ConfigMap with the static configuration of a shard's members, and the dynamic one that a new shard starts with. */
export function patroniConfig(
  cluster: ShardedCluster,
  shard: string,
  parameters: Readonly<Record<string, string>>,
): ConfigMap {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: ownedMetadata(cluster, shard, patroniConfigMap(cluster.metadata.name, shard)),
    data: { 'patroni.yml': dump(staticConfig(cluster, shard, parameters), { lineWidth: -1, noRefs: true }) },
  };
}

/** By what a member proves to others who it is, and how it verifies them. */
const clientCertificate = {
  sslmode: 'verify-ca',
  sslrootcert: `${tlsDirectory}/ca.crt`,
  sslcert: `${tlsDirectory}/client.crt`,
  sslkey: `${tlsDirectory}/client.key`,
};

function staticConfig(
  cluster: ShardedCluster,
  shard: string,
  parameters: Readonly<Record<string, string>>,
): Record<string, unknown> {
  return {
    ...memberSettings(cluster, shard),
    // Others are copied from a standby while there is one: the primary has enough to do.
    tags: { clonefrom: true },
    bootstrap: {
      dcs: dynamicConfig(cluster.spec, parameters),
      initdb: [
        'data-checksums',
        { encoding: 'UTF8' },
        // Sorts the same whatever C library the image has.
        { 'locale-provider': 'builtin' },
        { 'builtin-locale': 'C.UTF-8' },
        { locale: 'C.UTF-8' },
        { 'auth-local': 'peer' },
        { 'auth-host': 'scram-sha-256' },
        { set: 'huge_pages=off' },
      ],
      post_init: '/usr/local/bin/herdsman-post-init',
    },
    postgresql: serverSettings(),
  };
}

/** By what a member knows the others of its shard, and is known to them. */
export function memberSettings(cluster: ShardedCluster, shard: string): Record<string, unknown> {
  const name = cluster.metadata.name;
  return {
    scope: scope(name, shard),
    kubernetes: {
      namespace: cluster.metadata.namespace,
      // Patroni looks for pods with these labels: members of read replica sets have them as well.
      labels: shardLabels(name, shard),
      scope_label: scopeLabel,
      role_label: roleLabel,
      leader_label_value: 'primary',
      follower_label_value: 'replica',
      standby_leader_label_value: 'primary',
      use_endpoints: false,
    },
    restapi: {
      listen: `*:${patroniPort}`,
      certfile: `${tlsDirectory}/tls.crt`,
      keyfile: `${tlsDirectory}/tls.key`,
      cafile: `${tlsDirectory}/ca.crt`,
      // Probes have no certificate; whatever changes something needs one.
      verify_client: 'optional',
    },
    ctl: {
      // With a client certificate this drops the check of the host name only (members address one another by IP, so
      // that failover needs no DNS); the certificate must still be of the cluster's own authority.
      insecure: true,
      cacert: `${tlsDirectory}/ca.crt`,
      certfile: `${tlsDirectory}/client.crt`,
      keyfile: `${tlsDirectory}/client.key`,
    },
    watchdog: { mode: 'off' },
  };
}

/** How a member runs PostgreSQL: where it is, as whom it connects, how it is copied. */
export function serverSettings(
  parameters: Readonly<Record<string, string>> = {},
  copyOptions: Readonly<Record<string, string>> = {},
): Record<string, unknown> {
  return {
    listen: `*:${postgresPort}`,
    data_dir: `${volumeDirectory}/pgdata`,
    bin_dir: '/usr/lib/postgresql/17/bin',
    pgpass: `${socketDirectory}/pgpass`,
    use_unix_socket: true,
    use_unix_socket_repl: true,
    authentication: {
      superuser: { username: 'postgres' },
      replication: { username: 'replication', ...clientCertificate },
      rewind: { username: 'rewind', ...clientCertificate },
    },
    create_replica_methods: ['basebackup'],
    basebackup: [
      { checkpoint: 'fast' },
      ...Object.entries(copyOptions).map(([name, value]) => ({ [name]: value })),
    ],
    parameters: { ...parameters, unix_socket_directories: socketDirectory },
  };
}
