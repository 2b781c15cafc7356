import { beforeAll, describe, expect, it } from 'vitest';
import { kube } from '../support/cluster.ts';
import { kubectl } from '../support/kubectl.ts';
import { applicationConfig, query } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  conditionOf,
  readCluster,
  type ShardMap,
  type SpecInput,
  shardMapType,
  waitForCondition,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { startLoad } from '../support/writer.ts';

const namespace = namespaceForFile('rebalance-plan');
const key: ClusterKey = { namespace, name: 'shop' };
const spec: Partial<SpecInput> = {
  shards: { count: 2 },
  rebalance: { interval: '5s', dryRun: true },
  schema: [
    {
      name: '001',
      sql: `CREATE TABLE orders (customer_id bigint, id bigint, PRIMARY KEY (customer_id, id))
        PARTITION BY HASH (customer_id)`,
    },
  ],
  tables: [{ name: 'orders', strategy: 'hash', key: 'customer_id', buckets: 12 }],
};

async function readMap(): Promise<ShardMap['spec'] | undefined> {
  return (await (await kube()).get<ShardMap>(shardMapType, key))?.spec;
}

describe('the plan of a rebalancer that moves nothing', () => {
  beforeAll(async () => {
    await applyCluster(key, spec);
    await waitUntilReady(key, { timeoutMs: 180_000 });
  });

  it('has nothing to do for an even cluster', async () => {
    const { status } = await waitForCondition(key, { type: 'Balanced', status: 'True' });
    expect(status?.rebalance).toMatchObject({ phase: 'Balanced', totalMoves: 0, moves: [], stuck: [] });
    expect(status?.rebalance?.shards).toMatchObject([
      { name: 's0', utilisation: 100, buckets: 6 },
      { name: 's1', utilisation: 100, buckets: 6 },
    ]);
  });

  it('does not get in the way of the status of the cluster', async () => {
    const before = await readCluster(key);
    const types = ['Ready', 'Degraded', 'Balanced', 'Hot'];
    expect(types.map((type) => conditionOf(before, type)?.status)).toEqual([
      'True',
      'False',
      'True',
      'False',
    ]);
    const managers = before.metadata.managedFields as { manager: string; subresource?: string }[];
    const writers = managers.filter((entry) => entry.subresource === 'status').map((entry) => entry.manager);
    expect(writers.sort()).toEqual(['herdsman', 'herdsman-rebalance']);
  });

  it('is there before anything moves, when a shard is added', async () => {
    await kubectl(['scale', '-n', namespace, 'shardedcluster/shop', '--replicas=3']);
    const planned = { type: 'Balanced', status: 'False', reason: 'Planned' } as const;
    const { status } = await waitForCondition(key, planned, { timeoutMs: 180_000 });
    expect(status?.rebalance).toMatchObject({ phase: 'Planned', runningMoves: 0 });
    expect(status?.rebalance?.message).toContain('dryRun: nothing is moved');
    expect(status?.rebalance?.moves.filter(({ to }) => to !== 's2')).toEqual([]);
    expect(status?.rebalance?.shards[2]).toMatchObject({ name: 's2', buckets: 0 });
    expect(status?.rebalance?.shards[2]?.bucketsAfter).toBeGreaterThanOrEqual(3);
    expect(new Set((await readMap())?.groups[0]?.buckets.map(({ shard }) => shard))).toEqual(
      new Set(['s0', 's1']),
    );
  });

  it('shows the load of the bucket that is written to', async () => {
    const [row] = await query<{ id: string }>(
      { namespace, cluster: 'shop', shard: 's0' },
      `SELECT id FROM generate_series(1, 1000) id
        WHERE satisfies_hash_partition('orders'::regclass, 12, 4, id::bigint) LIMIT 1`,
    );
    const map = await readMap();
    const owner = map?.groups[0]?.buckets.find((bucket) => bucket.hash?.remainder === 4);
    const load = startLoad({
      config: () => applicationConfig({ namespace, cluster: 'shop', shard: owner?.shard ?? '' }),
      insert: (writer, n) => ({
        text: 'INSERT INTO orders VALUES ($1, $2)',
        values: [row?.id, writer * 1_000_000 + n],
      }),
    });
    try {
      await waitFor('the load of the bucket is shown', async () => {
        const { status } = await readCluster(key);
        const loads = status?.load?.groups.find(({ group }) => group === 'orders')?.loads ?? '';
        const isAlone = new RegExp(`^${owner?.id}:[0-9]{2,}$`).test(loads);
        return isAlone ? { done: true } : { state: status?.load };
      });
    } finally {
      await load.stop();
    }
    expect([...load.errors.keys()]).toEqual([]);
  });
});
