import { afterAll, beforeAll, expect, it } from 'vitest';
import { rebalanceController } from '../../src/resources/rebalance/controller.ts';
import { shardedClusterType } from '../../src/resources/sharded-cluster/kinds.ts';
import type { ShardedCluster } from '../../src/resources/sharded-cluster/model.ts';
import { clusterKey, type MemoryCluster, memoryCluster } from '../support/memory-cluster.ts';
import { type MoveShards, startShards } from '../support/move-world.ts';
import { waitUntil } from '../support/wait.ts';

const names = ['s0', 's1', 's2'];
const tables = [{ name: 'orders', strategy: 'hash' as const, key: 'customer_id', buckets: 6 }];
/** The customer that has most rows of its bucket, and most of what is read. */
const customer = 7;

let shards: MoveShards;
let cluster: MemoryCluster;
let owner = { shard: '', bucket: -1 };
let isOver = false;
let readers: Promise<void>[] = [];

beforeAll(async () => {
  shards = await startShards(
    `CREATE TABLE orders (customer_id int, id int, amount int, PRIMARY KEY (customer_id, id))
      PARTITION BY HASH (customer_id)`,
    tables,
    { count: names.length },
  );
  for (const shard of names) {
    await shards.rows(
      shard,
      `DO $$ BEGIN FOR n IN 1..60 LOOP
        BEGIN INSERT INTO public.orders SELECT n, id, id FROM generate_series(1, CASE n WHEN ${customer} THEN 20000 ELSE 20 END) id;
        EXCEPTION WHEN check_violation THEN NULL; END;
        END LOOP; END $$; ANALYZE public.orders`,
    );
  }
  const [place] = await shards.rows<typeof owner>(
    's0',
    `SELECT shard, bucket FROM herdsman.locate('orders', ${customer})`,
  );
  if (place === undefined) throw new Error('the customer is nowhere');
  owner = place;
  const item = { ready: true, readyMembers: 1, members: [] };
  const { length } = names;
  const status = {
    shards: {
      ...{ desired: length, current: length, ready: length, summary: '' },
      items: names.map((name) => ({ name, ...item })),
    },
  };
  cluster = memoryCluster(shards, { rebalance: { interval: '1s', dryRun: true }, tables }, status);
  cluster.start(rebalanceController(cluster.dependencies));
}, 120_000);

afterAll(async () => {
  isOver = true;
  await Promise.all(readers);
  await cluster?.stop();
  await shards?.stop();
});

/** Reads the customer's rows without a pause. */
async function read(): Promise<void> {
  const session = await shards.connectApplication(owner.shard);
  while (!isOver) {
    await session.query({
      text: `SELECT sum(amount) FROM public.orders WHERE customer_id = ${customer}`,
    });
  }
  await session.close();
}

const notes = () =>
  cluster.events.filter(({ reason }) => reason === 'Hot').map(({ type, note }) => `${type}: ${note}`);

function conditionHot() {
  const { status } = cluster.api.get<ShardedCluster>(shardedClusterType, clusterKey);
  return status?.conditions?.find(({ type }) => type === 'Hot');
}

it('a shard, a bucket and a tenant that are hot are told of by events, once', async () => {
  await waitUntil(
    'the cluster is seen to be at rest',
    () => conditionHot()?.status === 'False',
    conditionHot,
  );
  expect(notes()).toEqual([]);
  readers = [read(), read(), read()];
  const { shard, bucket } = owner;
  const wanted = [
    new RegExp(`^Warning: shard ${shard} is hot: `),
    new RegExp(`^Warning: bucket orders/${bucket} has \\d+ % of the load of shard ${shard}: split it`),
    new RegExp(
      `^Warning: key "${customer}" has \\d+ % of the rows of bucket orders/${bucket} on shard ${shard}`,
    ),
  ];
  const areAllTold = () => wanted.every((pattern) => notes().some((note) => pattern.test(note)));
  await waitUntil('all are told of', areAllTold, () => [notes(), conditionHot()]);
  expect(conditionHot()).toMatchObject({ status: 'True', reason: 'HotShard' });
  isOver = true;
  await Promise.all(readers);
  await waitUntil('it has cooled down', () => conditionHot()?.status === 'False', conditionHot);
  // In all the rounds until then nothing was said again.
  expect(notes()).toHaveLength(new Set(notes()).size);
  expect(notes().filter((note) => note.startsWith('Warning: shard'))).toHaveLength(1);
});
