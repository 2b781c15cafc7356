import { beforeAll, expect, it } from 'vitest';
import { createMove, makeCustomers, ordersSpec, sessionsBy, waitForEnd } from '../support/move-scene.ts';
import { startWriters } from '../support/move-writers.ts';
import { query } from '../support/pg.ts';
import {
  applyPooler,
  type PoolerKey,
  poolerClientConfig,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';

// A bucket that moves while its writers come through PgBouncer in transaction mode.

const namespace = namespaceForFile('pooler-move');
const cluster: ClusterKey = { namespace, name: 'shop' };
const key: PoolerKey = { namespace, name: 'web', cluster: 'shop' };
let customers: number[] = [];

beforeAll(async () => {
  await applyCluster(cluster, { ...ordersSpec(4), shards: { count: 2 }, rebalance: { mode: 'off' } });
  // These clients set what they want by "options", which a pooler in transaction mode does not keep.
  await applyPooler(key, { parameters: { ignore_startup_parameters: 'extra_float_digits,options' } });
  await waitUntilReady(cluster);
  await waitUntilPooling(key);
  customers = await makeCustomers(cluster, 100);
});

it('writers that follow the map see redirects and no error, and every row is where it was written', async () => {
  const through = sessionsBy((shard) => poolerClientConfig(key, `app_${shard}`), 15_000);
  const writers = startWriters(through, customers, { writers: 8, everyMs: 10 });
  for (const [name, to] of [
    ['there', 's1'],
    ['back', 's0'],
  ] as const) {
    await createMove(cluster, name, { bucket: 0, to });
    const status = await waitForEnd(cluster, name);
    expect(status, JSON.stringify(status)).toMatchObject({ phase: 'done', failures: 0 });
    console.log(`move ${name}: fenced for ${status.fenceMs} ms`);
  }
  const report = await writers.stop();
  console.log(`${report.acknowledged} commits, longest gap ${Math.round(report.longestGapMs)} ms`);
  expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
  expect(report.redirected).toBeGreaterThan(0);
  const shards = await Promise.all(
    ['s0', 's1'].map((shard) =>
      query<{ customer_id: number; id: number; amount: number }>(
        { namespace, cluster: 'shop', shard },
        'SELECT customer_id, id, amount FROM orders',
      ),
    ),
  );
  const found = shards.flat().map((row) => ({ key: `${row.customer_id}/${row.id}`, value: row.amount }));
  expect(report.ledger.judge(found)).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
});
