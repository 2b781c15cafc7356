import type { ConnectOptions } from '../../postgres/connection.ts';
import { type PatroniApi, patroniApi } from '../../postgres/patroni-api.ts';
import type { Login } from './desired/credentials.ts';
import type { Observed, ShardedCluster } from './model.ts';
import { operatorTlsSecret, primaryHost } from './names.ts';
import { contentOf, operatorName } from './steps/identity.ts';

/** How the operator reaches the members of a cluster: by address, verified against the shard's own name. */
export interface ShardAccess {
  patroni(shard: string, address: string, timeoutMs?: number): PatroniApi;
  /** As the operator's role, by certificate. */
  asOperator(shard: string, address: string, database: string): ConnectOptions;
  /** As the application's role, by password: what a user's SQL may do ends with what this role may do. */
  asApplication(shard: string, address: string, login: Login): ConnectOptions;
}

/** Access with the operator's certificate; `undefined` before there is one. */
export function shardAccess(cluster: ShardedCluster, secrets: Observed['secrets']): ShardAccess | undefined {
  const { name, namespace } = cluster.metadata;
  const content = contentOf(secrets.get(operatorTlsSecret(name)));
  const { 'ca.crt': ca, 'tls.crt': cert, 'tls.key': key } = content ?? {};
  if (ca === undefined || cert === undefined || key === undefined) return undefined;
  const clientCertificate = { cert, key };
  return {
    patroni: (shard, host, timeoutMs = 1_500) =>
      patroniApi({ host, servername: primaryHost(name, shard, namespace), ca, clientCertificate, timeoutMs }),
    asOperator: (shard, host, database) => ({
      host,
      database,
      user: operatorName,
      connectTimeoutMs: 3_000,
      tls: { ca, servername: primaryHost(name, shard, namespace), clientCertificate },
    }),
    asApplication: (shard, host, login) => ({
      host,
      database: cluster.spec.postgres.database,
      user: login.username,
      password: login.password,
      connectTimeoutMs: 3_000,
      statementTimeoutMs: 0,
      tls: { ca, servername: primaryHost(name, shard, namespace) },
    }),
  };
}
