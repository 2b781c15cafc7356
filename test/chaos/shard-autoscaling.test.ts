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

const namespace = namespaceForFile('shard-autoscaling');
const key: ClusterKey = { namespace, name: 'shop' };
/** The load is no more than a few times the target: it takes as long to be forgotten as to be seen. */
const spec: Partial<SpecInput> = {
  shards: {
    count: 1,
    autoscaling: {
      minShards: 1,
      maxShards: 2,
      metrics: [{ type: 'TPS', target: 20 }],
      behavior: { scaleOut: { stabilization: '5s' }, scaleIn: { stabilization: '5s' } },
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
  tables: [{ name: 'orders', strategy: 'hash', key: 'customer_id', buckets: 2 }],
};

/** Transactions on the shard that owned everything at first, so that no place of a bucket matters. */
function work(): Load {
  return startLoad({
    config: () => applicationConfig({ namespace, cluster: 'shop' }),
    insert: () => ({ text: 'SELECT count(*) FROM orders', values: [] }),
    everyMs: 60,
  });
}

async function waitForDecision(count: number): Promise<void> {
  await waitFor(`${count} shards are wanted`, async () => {
    const { status } = await readCluster(key);
    return status?.autoscaling?.desired === count ? { done: true } : { state: status?.autoscaling };
  });
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
    const load = work();
    try {
      await waitForDecision(2);
    } finally {
      await load.stop();
    }
    await waitForShards(2);
    const { status, spec: written } = await readCluster(key);
    expect(status?.autoscaling).toMatchObject({
      base: 1,
      desired: 2,
      metrics: [{ type: 'TPS', target: '20' }],
    });
    // What the operator decides is in the status: the spec belongs to the user.
    expect(written.shards?.count).toBe(1);
    await waitForEvent(key, /ScalingOut .*TPS of the fullest shard/);
    await waitForShards(1);
    expect((await readCluster(key)).status?.autoscaling).toMatchObject({ desired: 1 });
    await waitForEvent(key, /ScalingIn .*shard s1 is taken away, for it owns /);
    await waitForEvent(key, /ShardLeaving shard s1 is emptied/);
    await waitFor('the pods of the second shard are gone', async () => {
      const pods = await memberPods(key, 's1');
      return pods.length === 0 ? { done: true } : { state: pods.map((pod) => pod.metadata.name) };
    });
  });
});
