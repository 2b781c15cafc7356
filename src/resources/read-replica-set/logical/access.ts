import type { ConnectOptions } from '../../../postgres/connection.ts';
import type { Login } from '../../sharded-cluster/desired/credentials.ts';
import { tlsDirectory } from '../../sharded-cluster/desired/parameters.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import { headlessService, postgresPort, serviceHost } from '../../sharded-cluster/names.ts';
import type { ShardAccess } from '../../sharded-cluster/shard-access.ts';
import type { ReadReplicaSet } from '../model.ts';
import { modelHost, modelPart } from './names.ts';

/** How the operator reaches the members of a read model: by address, verified against the name of its Service. */
export interface ModelAccess {
  asOperator(address: string, database: string): ConnectOptions;
  /** What a migration may do ends with what the application's role may do. */
  asApplication(address: string, login: Login): ConnectOptions;
}

/** Access like that to the shards, under the read model's own name. */
export function modelAccess(set: ReadReplicaSet, shards: ShardAccess): ModelAccess {
  const servername = modelHost(set.metadata.name, set.metadata.namespace);
  const named = (options: ConnectOptions): ConnectOptions =>
    options.tls === 'off' ? options : { ...options, tls: { ...options.tls, servername } };
  return {
    asOperator: (address, database) => named(shards.asOperator(modelPart, address, database)),
    asApplication: (address, login) => named(shards.asApplication(modelPart, address, login)),
  };
}

/** How a read model reaches one pod of a shard: parameters of libpq, without user and password. */
export function sourceAddress(
  { metadata, spec }: ShardedCluster,
  shard: string,
  member: string,
): Record<string, string> {
  const service = serviceHost(headlessService(metadata.name, shard), metadata.namespace);
  return {
    host: `${member}.${service}`,
    port: String(postgresPort),
    dbname: spec.postgres.database,
    sslmode: 'verify-full',
    sslrootcert: `${tlsDirectory}/ca.crt`,
    connect_timeout: '5',
    keepalives_idle: '10',
    keepalives_interval: '5',
    keepalives_count: '3',
  };
}
