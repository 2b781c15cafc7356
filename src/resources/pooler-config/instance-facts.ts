import type { Console } from '../../postgres/pgbouncer-console.ts';
import { revisionOf } from './desired/settings.ts';
import type { InstanceFacts } from './model.ts';
import type { DatabaseSize } from './sizing.ts';

/**
 * Databases that an instance has more connections of than their size lets it open. A size that became smaller closes none that
 * is busy.
 */
export function oversizedDatabases(
  { databaseServers = {} }: InstanceFacts,
  sizes: readonly DatabaseSize[],
): string[] {
  return sizes
    .filter(({ name, maxConnections }) => (databaseServers[name] ?? 0) > maxConnections)
    .map(({ name }) => name);
}

/** The name of a session, which a server and its client both know. */
export function sessionName(pid: number, clientPort: number): string {
  return `${pid}/${clientPort}`;
}

/** What an instance of PgBouncer says of itself, and of its sessions where they are wanted. */
export async function readInstance(console: Console, withSessions = false): Promise<InstanceFacts> {
  const config = await console.showConfig();
  const pools = (await console.showPools()).filter((pool) => pool.database !== 'pgbouncer');
  const sum = (count: (pool: (typeof pools)[number]) => number) =>
    pools.reduce((total, pool) => total + count(pool), 0);
  const serversOf = (pool: (typeof pools)[number]) =>
    pool.sv_active + pool.sv_idle + pool.sv_used + pool.sv_tested + pool.sv_login;
  const databaseServers: Record<string, number> = {};
  for (const pool of pools)
    databaseServers[pool.database] = (databaseServers[pool.database] ?? 0) + serversOf(pool);
  return {
    revision: revisionOf(config.get('ignore_startup_parameters') ?? ''),
    databases: [
      ...new Set(pools.filter((pool) => pool.cl_active + pool.cl_waiting > 0).map((pool) => pool.database)),
    ],
    clients: sum((pool) => pool.cl_active + pool.cl_waiting),
    waits: pools
      .filter((pool) => pool.cl_waiting > 0)
      .map(({ database, cl_waiting, maxwait }) => ({
        database,
        waiting: cl_waiting,
        maxWaitSeconds: maxwait,
      })),
    servers: sum(serversOf),
    databaseServers,
    ...(withSessions ? { sessions: await sessionsOf(console) } : {}),
    minPoolSize: Number(config.get('min_pool_size') ?? 0),
  };
}

async function sessionsOf(console: Console): Promise<NonNullable<InstanceFacts['sessions']>> {
  const servers = await console.showServers();
  return servers
    .filter(({ remote_pid }) => remote_pid > 0)
    .map(({ database, remote_pid, local_port }) => ({
      database,
      session: sessionName(remote_pid, local_port),
    }));
}
