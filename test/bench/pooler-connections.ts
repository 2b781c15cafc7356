import type pg from 'pg';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { applicationConfig, query } from '../support/pg.ts';
import { startPgbench, tpsOf } from '../support/pgbench.ts';
import {
  applyPooler,
  type PoolerKey,
  poolerClientConfig,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import { applyCluster, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { type Measured, median, note, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

const seconds = 8;
const maxConnections = '200';
/** What a server may use, so that clients, which compute as much for TLS and SCRAM, have the processors that they need. */
const limits = { cpu: '300m' };

/** A connection for each transaction, of 128 clients: through a pooler, and directly to the member behind it. */
export async function measureConnections(): Promise<Measured> {
  const key: PoolerKey = { namespace: await createNamespace('bench'), name: 'web', cluster: 'shop' };
  const cluster = { namespace: key.namespace, name: key.cluster };
  const turns = runCount(5);
  try {
    await applyCluster(cluster, {
      members: 1,
      postgres: { parameters: { max_connections: maxConnections } },
      resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { ...limits, memory: '1Gi' } },
    });
    await applyPooler(key, {
      replicas: 1,
      maxClientConnections: 1000,
      resources: { requests: { cpu: '100m', memory: '32Mi' }, limits },
    });
    await waitUntilReady(cluster, { timeoutMs: 240_000 });
    await waitFor('there is room for all clients', async () => {
      const [row] = await query<{ max_connections: string }>(key, 'SHOW max_connections');
      return row?.max_connections === maxConnections ? { done: true } : { state: row };
    });
    await waitUntilReady(cluster);
    await waitUntilPooling(key);
    const ways = {
      direct: await applicationConfig(key),
      pooled: await poolerClientConfig(key),
    };
    await pgbench(ways.direct, ['-i', '-q', '-s', '1']);
    const found = { direct: [] as number[], pooled: [] as number[] };
    for (let turn = 0; turn < turns; turn += 1) {
      for (const way of ['direct', 'pooled'] as const) found[way].push(await connectionsPerSecond(ways[way]));
      note(
        `turn ${turn + 1}: ${found.direct.at(-1)} TPS directly, ${found.pooled.at(-1)} through the pooler`,
      );
    }
    const share = median(found.pooled.map((tps, turn) => tps / (found.direct[turn] ?? tps)));
    return { reach: [reached(targets.pooler.connectingLimited, share, turns)], detail: { limited: found } };
  } finally {
    await deleteNamespace(key.namespace);
  }
}

async function connectionsPerSecond(config: pg.ClientConfig): Promise<number> {
  const output = await pgbench(config, ['-S', '-n', '-C', '-j', '2', '-c', '128', '-T', `${seconds}`]);
  return Math.round(tpsOf(output));
}

async function pgbench(config: pg.ClientConfig, words: readonly string[]): Promise<string> {
  return (await startPgbench(config, words)).output;
}
