import { setTimeout as sleep } from 'node:timers/promises';
import { kubectl } from '../support/kubectl.ts';
import {
  applicationOf,
  makeCustomers,
  ordersSpec,
  readMap,
  readMoves,
  readOrders,
} from '../support/move-scene.ts';
import { startWriters } from '../support/move-writers.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { query } from '../support/pg.ts';
import { applyCluster, type ClusterKey, readCluster, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { type Measured, note, reached } from './report.ts';
import { targets } from './targets.ts';

const buckets = 16;
const rowsPerBucket = 8_000;
/** How long the load is watched before and after. */
const watchedMs = 20_000;
const shards = ['s0', 's1', 's2', 's3'];

/** Scales a cluster from 2 to 4 shards under writers, and measures how long its data takes and what its writers notice. */
export async function rebalance(): Promise<Measured> {
  const key: ClusterKey = { namespace: await createNamespace('bench'), name: 'shop' };
  try {
    await applyCluster(key, { ...ordersSpec(buckets), shards: { count: 2 }, rebalance: { interval: '5s' } });
    await waitUntilReady(key, { timeoutMs: 240_000 });
    const customers = await makeCustomers(key, 40);
    await fill(key);
    const bytes = await sizeOf(key);
    note(`${buckets} buckets, ${Math.round(bytes / 2 ** 20)} MiB`);
    return await measure(key, customers, bytes);
  } finally {
    await deleteNamespace(key.namespace);
  }
}

async function measure(key: ClusterKey, customers: readonly number[], bytes: number): Promise<Measured> {
  const commits = new Map<number, number>();
  const writers = startWriters(applicationOf(key), customers, {
    writers: 8,
    everyMs: 10,
    onCommit: (customer) => commits.set(customer, (commits.get(customer) ?? 0) + 1),
  });
  // Sessions are open, and the rebalancer has seen the load, before anything is measured.
  await sleep(watchedMs);
  const before = await rateOver(writers, () => sleep(watchedMs));
  const begun = performance.now();
  const timeline: Second[] = [];
  const during = await rateOver(writers, async () => {
    await kubectl(['scale', '-n', key.namespace, 'shardedcluster/shop', '--replicas=4']);
    await waitUntilBalanced(key, writers, timeline);
  });
  const totalS = (performance.now() - begun) / 1000;
  commits.clear();
  const after = await rateOver(writers, () => sleep(watchedMs));
  const loads = await loadsOf(key, customers, commits);
  const report = await writers.stop();
  const verdict = report.ledger.judge(await readOrders(key));
  const wrong = Object.values(verdict).flat();
  const mean = loads.reduce((sum, load) => sum + load, 0) / loads.length;
  const errors = [...report.errors, ...report.violations];
  const { total, balance, throughput } = targets.rebalance;
  return {
    reach: [
      reached(total, totalS, 1),
      reached(balance, (Math.max(...loads) / mean - 1) * 100, 1),
      reached(throughput, during / before, 1),
      reached(targets.rebalance.errors, errors.length, 1),
      reached(targets.rebalance.wrong, wrong.length, 1),
    ],
    detail: {
      mebibytes: Math.round(bytes / 2 ** 20),
      moves: (await readMoves(key)).length,
      timeline: timeline.map((second) => Object.values(second).join(' ')),
      commitsPerSecond: { before, during, after },
      commitsPerSecondByShard: loads.map((load) => load / (watchedMs / 1000)),
      longestGapMs: report.longestGapMs,
      redirected: report.redirected,
      errors: errors.slice(0, 5),
      wrong: wrong.slice(0, 5),
    },
  };
}

/** Commits a second while something goes on. */
async function rateOver(writers: { acknowledged(): number }, work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  const before = writers.acknowledged();
  await work();
  return ((writers.acknowledged() - before) * 1000) / (performance.now() - begun);
}

/** Rows of a kilobyte that hardly compress, evenly over all buckets. */
async function fill(key: ClusterKey): Promise<void> {
  for (const { id, shard } of (await readMap(key)).spec.groups[0]?.buckets ?? []) {
    await query(
      { namespace: key.namespace, cluster: key.name, shard },
      `INSERT INTO customers
        SELECT n, (SELECT string_agg(md5((n * 32 + part)::text), '') FROM generate_series(1, 32) part)
          FROM generate_series(1000000, 1000000 + ${rowsPerBucket * buckets}) n
          WHERE satisfies_hash_partition('customers'::regclass, ${buckets}, ${id}, n)`,
    );
  }
}

async function sizeOf(key: ClusterKey): Promise<number> {
  let bytes = 0;
  for (const shard of ['s0', 's1']) {
    const [row] = await query<{ bytes: string }>(
      { namespace: key.namespace, cluster: key.name, shard },
      "SELECT sum(pg_total_relation_size(relid))::text AS bytes FROM pg_partition_tree('customers')",
    );
    bytes += Number(row?.bytes ?? 0);
  }
  return bytes;
}

/** A second of a rebalance. */
interface Second {
  readonly commits: number;
  readonly readyShards: number;
  readonly runningMoves: number;
}

async function waitUntilBalanced(
  key: ClusterKey,
  writers: { acknowledged(): number },
  timeline: Second[],
): Promise<void> {
  let commits = writers.acknowledged();
  await waitFor(
    'four shards are balanced and at rest',
    async () => {
      const { status } = await readCluster(key);
      const owners = new Set((await readMap(key)).spec.groups[0]?.buckets.map(({ shard }) => shard));
      const { phase, runningMoves = 0, totalMoves } = status?.rebalance ?? {};
      const acknowledged = writers.acknowledged();
      timeline.push({
        commits: acknowledged - commits,
        readyShards: status?.shards?.ready ?? 0,
        runningMoves,
      });
      commits = acknowledged;
      const isAtRest = phase === 'Balanced' && runningMoves === 0 && totalMoves === 0;
      const isDone = owners.size === 4 && status?.shards?.ready === 4 && isAtRest;
      return isDone ? { done: true } : { state: status?.rebalance };
    },
    { timeoutMs: 300_000, everyMs: 1_000 },
  );
}

/** Commits on the buckets of each shard. */
async function loadsOf(
  key: ClusterKey,
  customers: readonly number[],
  commits: ReadonlyMap<number, number>,
): Promise<number[]> {
  const places = await query<{ customer: number; shard: string }>(
    { namespace: key.namespace, cluster: key.name },
    `SELECT customer, place.shard FROM unnest($1::int[]) customer, LATERAL herdsman.locate('customer', customer) place`,
    [customers],
  );
  return shards.map((name) =>
    places
      .filter(({ shard }) => shard === name)
      .reduce((sum, { customer }) => sum + (commits.get(customer) ?? 0), 0),
  );
}
