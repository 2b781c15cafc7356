import { beforeAll, describe, expect, it } from 'vitest';
import { applicationConfig } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  memberPods,
  readCluster,
  type SpecInput,
  waitForEvent,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { type Load, startLoad } from '../support/writer.ts';

const namespace = await namespaceForFile('shard-autoscaling');
const key: ClusterKey = { namespace, name: 'shop' };
const spec: Partial<SpecInput> = {
  shards: {
    count: 2,
    autoscaling: {
      minShards: 2,
      maxShards: 3,
      metrics: [{ type: 'TPS', target: 20 }],
      behavior: { scaleOut: { stabilization: '10s' }, scaleIn: { stabilization: '15s' } },
    },
  },
  rebalance: { interval: '5s' },
  schema: [
    {
      name: '001',
      sql: `CREATE TABLE orders (customer_id bigint, id bigint, PRIMARY KEY (customer_id, id))
        PARTITION BY HASH (customer_id)`,
    },
  ],
  tables: [{ name: 'orders', strategy: 'hash', key: 'customer_id', buckets: 12 }],
};

/** Transactions on both shards that owned everything at first, so that no place of a bucket matters. */
function work(): Load[] {
  return ['s0', 's1'].map((shard) =>
    startLoad({
      config: () => applicationConfig({ namespace, cluster: 'shop', shard }),
      insert: () => ({ text: 'SELECT count(*) FROM orders', values: [] }),
    }),
  );
}

async function waitForShards(count: number): Promise<void> {
  await waitFor(
    `there are ${count} shards`,
    async () => {
      const { status } = await readCluster(key);
      const { desired, ready, current } = status?.shards ?? {};
      const isThere = desired === count && ready === count && current === count;
      return isThere ? { done: true } : { state: [status?.shards?.summary, status?.autoscaling] };
    },
    { timeoutMs: 240_000 },
  );
}

describe('a cluster that chooses its number of shards', () => {
  beforeAll(async () => {
    await applyCluster(key, spec);
    await waitUntilReady(key, { timeoutMs: 180_000 });
  });

  it('adds a shard under load, and takes one away when it is quiet', async () => {
    const loads = work();
    try {
      await waitForShards(3);
    } finally {
      await Promise.all(loads.map((load) => load.stop()));
    }
    const { status, spec: written } = await readCluster(key);
    expect(status?.autoscaling).toMatchObject({
      base: 2,
      desired: 3,
      metrics: [{ type: 'TPS', target: '20' }],
    });
    // What the operator decides is in the status: the spec belongs to the user.
    expect(written.shards?.count).toBe(2);
    await waitForEvent(key, /ScalingOut .*TPS of the fullest shard/);
    await waitForShards(2);
    expect((await readCluster(key)).status?.autoscaling).toMatchObject({ desired: 2 });
    await waitForEvent(key, /ScalingIn /);
    await waitFor('the pods of the third shard are gone', async () => {
      const pods = await memberPods(key, 's2');
      return pods.length === 0 ? { done: true } : { state: pods.map((pod) => pod.metadata.name) };
    });
  });
});
