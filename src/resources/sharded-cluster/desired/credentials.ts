import type { ShardedCluster } from '../model.ts';
import { applicationSecret, monitoringSecret, postgresPort, primaryHost } from '../names.ts';
import { keptMetadata } from './owned-object.ts';
import { encoded, type Secret } from './secrets.ts';

/** How a role logs in. */
export interface Login {
  readonly username: string;
  readonly password: string;
}

/** What the Secrets for applications and monitoring are made from, beside the cluster. */
export interface CredentialsOptions {
  readonly login: Login;
  /** PEM certificates that clients verify servers with. */
  readonly authorityBundle: string;
  /** Shards that the Secret names. */
  readonly shards: readonly string[];
}

/** Secret with everything that an application needs to connect; the first shard is the default. */
export function applicationCredentials(cluster: ShardedCluster, options: CredentialsOptions): Secret {
  return credentials(cluster, applicationSecret(cluster.metadata.name), options);
}

/** Secret with everything that monitoring needs to connect. */
export function monitoringCredentials(cluster: ShardedCluster, options: CredentialsOptions): Secret {
  return credentials(cluster, monitoringSecret(cluster.metadata.name), options);
}

function credentials(cluster: ShardedCluster, name: string, options: CredentialsOptions): Secret {
  const { login, authorityBundle, shards } = options;
  const database = cluster.spec.postgres.database;
  const hosts = shards.map((shard) => primaryHost(cluster.metadata.name, shard, cluster.metadata.namespace));
  const host = hosts[0] ?? '';
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: keptMetadata(cluster, name),
    type: 'Opaque',
    data: encoded({
      username: login.username,
      password: login.password,
      host,
      port: String(postgresPort),
      dbname: database,
      uri: connectionUri(login, host, database),
      'jdbc-uri': jdbcUri(login, host, database),
      'ca.crt': authorityBundle,
      hosts: hosts.join(','),
      ...Object.fromEntries(
        shards.map((shard, index) => [`uri-${shard}`, connectionUri(login, hosts[index] ?? '', database)]),
      ),
    }),
  };
}

/** URI that libpq and its drivers understand; `sslmode=require` needs no file, `ca.crt` allows verify-full. */
export function connectionUri(login: Login, host: string, database: string): string {
  const user = `${encodeURIComponent(login.username)}:${encodeURIComponent(login.password)}`;
  return `postgresql://${user}@${host}:${postgresPort}/${encodeURIComponent(database)}?sslmode=require`;
}

/** URI for the PostgreSQL JDBC driver. */
export function jdbcUri(login: Login, host: string, database: string): string {
  const query = new URLSearchParams({
    user: login.username,
    password: login.password,
    sslmode: 'require',
  });
  return `jdbc:postgresql://${host}:${postgresPort}/${encodeURIComponent(database)}?${query}`;
}
