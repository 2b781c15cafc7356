import { connect } from '../../postgres/connection.ts';
import { readPgpool } from '../../postgres/pgpool.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import type { Observed, ShardedCluster } from '../sharded-cluster/model.ts';
import { monitoringSecret, serviceHost } from '../sharded-cluster/names.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import { pgpoolRevisionOf } from './desired/pgpool-settings.ts';
import type { InstanceFacts, PoolerConfig } from './model.ts';
import { poolerName, poolerPort } from './names.ts';

/**
 * Asks the instance of Pgpool-II in a pod, as the role of monitoring: there is no console of its own. The session is not kept,
 * since it takes the place of a client.
 */
export async function readPgpoolInstance(
  { metadata }: PoolerConfig,
  cluster: ShardedCluster | undefined,
  secrets: Observed['secrets'],
  pod: Pod,
): Promise<InstanceFacts> {
  const host = pod.status?.podIP;
  const ca = contentOf(secrets.get(poolerName(metadata.name)))?.['ca.crt'];
  const login = cluster && contentOf(secrets.get(monitoringSecret(cluster.metadata.name)));
  if (host === undefined || ca === undefined || login?.username === undefined || login.password === undefined)
    throw new Error(`instance ${pod.metadata.name} cannot be reached yet`);
  const connection = await connect({
    host,
    port: poolerPort,
    user: login.username,
    password: login.password,
    database: cluster?.spec.postgres.database ?? '',
    connectTimeoutMs: 3_000,
    statementTimeoutMs: 3_000,
    tls: { ca, servername: serviceHost(poolerName(metadata.name), metadata.namespace) },
  });
  try {
    const { ident, nodes, clients } = await readPgpool(connection);
    const revision = pgpoolRevisionOf(ident);
    // Every client has its own connection to the primary; those that wait are not seen before they are served.
    return {
      revision,
      databases: [],
      clients,
      waits: [],
      servers: clients,
      nodes,
    };
  } finally {
    await connection.close();
  }
}
