import { connect } from '../../postgres/connection.ts';
import { serviceType } from '../../runtime/kubernetes-types.ts';
import { readOnlyService, readWriteService } from './names.ts';
import type { Server } from './pooler-gate.ts';
import type { ShardAccess } from './shard-access.ts';
import type { Sources } from './sources.ts';

/** Names a shard of a cluster. */
export interface ShardKey {
  readonly namespace: string;
  readonly cluster: string;
  readonly shard: string;
}

/** Those that read are served by any standby. */
const anyStandby: Server = { id: 'a standby' };
/** Without a way to ask, nobody is kept waiting for the answer. */
const unknown: Server = { id: 'unknown' };

/**
 * Who serves whoever connects by the shard's own Service, as poolers do: the server that takes writes, or any standby;
 * `undefined` if nobody has answered within so many milliseconds.
 */
export async function servedBy(
  sources: Pick<Sources, 'plain'>,
  access: ShardAccess | undefined,
  { namespace, cluster, shard }: ShardKey,
  role: 'rw' | 'ro',
  patienceMs: number,
): Promise<Server | undefined> {
  const name = role === 'rw' ? readWriteService(cluster, shard) : readOnlyService(cluster, shard);
  const services = sources.plain.find((informer) => informer.type === serviceType)?.cache;
  const host = (services?.get({ namespace, name })?.spec as { clusterIP?: string } | undefined)?.clusterIP;
  if (access === undefined || host === undefined) return unknown;
  try {
    const connection = await connect({
      ...access.asOperator(shard, host, 'postgres'),
      connectTimeoutMs: patienceMs,
      statementTimeoutMs: 1_000,
    });
    try {
      const [row] = await connection.query<{ standby: boolean; address: string; startedAt: string }>({
        text: query,
      });
      if (row === undefined) return undefined;
      if (role === 'ro') return anyStandby;
      return row.standby ? undefined : { id: `${row.address} since ${row.startedAt}`, address: row.address };
    } finally {
      await connection.close();
    }
  } catch {
    return undefined;
  }
}

const query = `
SELECT pg_is_in_recovery() AS standby,
  host(inet_server_addr()) AS address, pg_postmaster_start_time()::text AS "startedAt"`;
