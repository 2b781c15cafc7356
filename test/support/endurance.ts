import pg from 'pg';
import { configMapType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';
import type { Fault } from './faults.ts';
import { kubectl } from './kubectl.ts';
import type { StoredRow, Verdict } from './ledger.ts';
import { applicationConfig, query } from './pg.ts';
import { type ClusterKey, isReady, memberPods, readCluster, waitUntilReady } from './sharded-cluster.ts';
import { waitFor, waitUntil } from './wait.ts';
import { type Load, startLoad } from './writer.ts';

/** A migration that makes the table in which writers keep their rows; it has no key, so that a row written twice shows. */
export const ledgerMigration = {
  name: 'ledger',
  sql: 'CREATE TABLE ledger (run integer NOT NULL, writer integer NOT NULL, n integer NOT NULL)',
};

/** Writers on one shard. */
export interface ShardLoad {
  readonly load: Load;
  /** Stops the writers and compares the table with what they were told. */
  finish(): Promise<Verdict>;
}

let runs = 0;

/** Starts writers on a shard that has the ledger table, and waits until they write. */
export async function loadShard(key: ClusterKey, shard = 's0'): Promise<ShardLoad> {
  const target = { namespace: key.namespace, cluster: key.name, shard };
  const run = process.pid * 1000 + runs++;
  const config = await applicationConfig(target);
  const load = startLoad({
    config: async () => config,
    insert: (writer, n) => ({
      text: 'INSERT INTO ledger VALUES ($1, $2, $3) RETURNING pg_postmaster_start_time()::text AS server',
      values: [run, writer, n],
    }),
  });
  await waitUntil(
    'the writers write',
    () => load.ledger.acknowledged >= 50,
    () => [...load.errors],
    { everyMs: 50 },
  );
  return {
    load,
    async finish() {
      await load.stop();
      const rows = await waitFor('the rows are read back', async () => ({
        done: await query<StoredRow & { [column: string]: unknown }>(
          target,
          'SELECT writer, n FROM ledger WHERE run = $1',
          [run],
        ),
      }));
      return load.ledger.judge(rows);
    },
  };
}

/** What the members of a shard say of themselves, and their last words. */
async function tellOfMembers(key: ClusterKey, shard: string): Promise<string> {
  const pods = await memberPods(key, shard);
  const told = pods.map(async ({ metadata }) => {
    const words = ['logs', '-n', key.namespace, metadata.name, '-c', 'postgres', '--tail=25'];
    const log = await kubectl(words).catch((error: Error) => error.message);
    return `${metadata.name}: ${metadata.annotations?.status ?? 'has no status'}\n${log}`;
  });
  return (await Promise.all(told)).join('\n');
}

/** Members that may lead after the primary; after it has come back by itself it takes Patroni some seconds to name them again. */
async function heirs({ namespace, name }: ClusterKey, shard: string): Promise<string[]> {
  const found = await (await kube()).get(configMapType, { namespace, name: `${name}-${shard}-sync` });
  return (found?.metadata.annotations?.sync_standby ?? '').split(',').filter((member) => member !== '');
}

/** Addresses of the members that the primary would ask whether it may go on while the API server is away. */
async function failsafeHosts({ namespace, name }: ClusterKey, shard: string): Promise<string[]> {
  const found = await (await kube()).get(configMapType, { namespace, name: `${name}-${shard}-leader` });
  const told = JSON.parse(found?.metadata.annotations?.failsafe ?? '{}') as Record<string, string>;
  return Object.values(told).map((url) => new URL(url).hostname);
}

/**
 * Waits until every member of a shard is there and streams, the primary knows where to find them, and where the spec says so
 * commits wait for standbys and one of them may lead next: asked of
 * Kubernetes and of PostgreSQL themselves, since a status may be a moment old.
 */
export async function waitUntilWhole(key: ClusterKey, shard = 's0'): Promise<void> {
  const { members = 3, durability = 'quorum' } = (await readCluster(key)).spec;
  const target = { namespace: key.namespace, cluster: key.name, shard };
  const config = await applicationConfig(target, `${key.name}-monitoring`);
  const isSynchronous = durability !== 'asynchronous' && members >= 3;
  await waitFor(
    `all members of ${key.name}-${shard} are there and stream`,
    async () => {
      const pods = await memberPods(key, shard);
      const ready = pods.filter(isReady).map((pod) => pod.metadata.name);
      if (ready.length !== members || pods.length !== members) return { state: { ready } };
      const known = await failsafeHosts(key, shard);
      if (!pods.every(({ status }) => known.includes(status?.podIP ?? ''))) return { state: { known } };
      const standbys = await readStandbys(config);
      const streaming = standbys.filter(({ state }) => state === 'streaming');
      const waitedFor = streaming.filter(({ sync }) => sync === 'quorum' || sync === 'sync');
      if (isSynchronous && (await heirs(key, shard)).length === 0) return { state: 'nobody may lead next' };
      const isWhole = streaming.length === members - 1 && (!isSynchronous || waitedFor.length > 0);
      return isWhole ? { done: true } : { state: standbys };
    },
    { timeoutMs: 240_000 },
  ).catch(async (error: Error) => {
    throw new Error(`${error.message}\n${await tellOfMembers(key, shard)}`, { cause: error });
  });
}

interface Standby {
  readonly name: string;
  readonly state: string;
  readonly sync: string;
}

async function readStandbys(config: pg.ClientConfig): Promise<Standby[]> {
  const client = new pg.Client(config);
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<Standby>(
      'SELECT application_name AS name, state, sync_state AS sync FROM pg_stat_replication',
    );
    return rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** What a fault cost. */
export interface FaultOutcome {
  /** Longest time without an acknowledged commit, from the fault until all members were well again. */
  readonly writeGapMs: number;
  readonly verdict: Verdict;
  /** What the writers saw, by message. */
  readonly errors: ReadonlyMap<string, number>;
}

/** How long writers are watched during a fault that does not take the primary. */
const watchedMs = 30_000;

/** Injects a fault under load, waits until writes go on, mends, waits until the cluster is Ready, and judges the ledger. */
export async function endure(key: ClusterKey, fault: Fault, shard = 's0'): Promise<FaultOutcome> {
  await waitUntilWhole(key, shard);
  const { load, finish } = await loadShard(key, shard);
  const before = load.server();
  const faultMs = performance.now();
  const mend = await fault.inject(key, shard);
  try {
    await waitUntil(
      `writes go on after: ${fault.name}`,
      () =>
        fault.takesPrimary
          ? load.server() !== before && load.ledger.lastMs > performance.now() - 200
          : performance.now() - faultMs > watchedMs && load.ledger.lastMs > performance.now() - 1000,
      () => ({ server: load.server(), before, errors: [...load.errors] }),
      { timeoutMs: 120_000, everyMs: 50 },
    );
  } finally {
    await mend();
  }
  await waitUntilWhole(key, shard);
  await waitUntilReady(key, { timeoutMs: 240_000 });
  const verdict = await finish();
  return { writeGapMs: load.ledger.longestGapMs(faultMs), verdict, errors: load.errors };
}
