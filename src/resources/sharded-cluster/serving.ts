import { connect } from '../../postgres/connection.ts';
import { serviceType } from '../../runtime/kubernetes-types.ts';
import { readWriteService } from './names.ts';
import type { ShardAccess } from './shard-access.ts';
import type { Sources } from './sources.ts';

/** Names a shard of a cluster. */
export interface ShardKey {
  readonly namespace: string;
  readonly cluster: string;
  readonly shard: string;
}

/**
 * Whether whoever connects by the shard's own Service, as poolers do, finds a server that takes writes. Without a way to
 * ask, nobody is kept waiting for the answer.
 */
export async function isServing(
  sources: Pick<Sources, 'plain'>,
  access: ShardAccess | undefined,
  { namespace, cluster, shard }: ShardKey,
): Promise<boolean> {
  const services = sources.plain.find((informer) => informer.type === serviceType)?.cache;
  const service = services?.get({ namespace, name: readWriteService(cluster, shard) });
  const host = (service?.spec as { clusterIP?: string } | undefined)?.clusterIP;
  if (access === undefined || host === undefined) return true;
  try {
    const connection = await connect({
      ...access.asOperator(shard, host, 'postgres'),
      // Packets to an endpoint that is just being taken away are lost: soon tried again is soon there.
      connectTimeoutMs: 300,
      statementTimeoutMs: 1_000,
    });
    try {
      const [row] = await connection.query<{ standby: boolean }>({
        text: 'SELECT pg_is_in_recovery() AS standby',
      });
      return row?.standby === false;
    } finally {
      await connection.close();
    }
  } catch {
    return false;
  }
}
