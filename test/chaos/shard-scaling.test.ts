import { beforeAll, describe, expect, it } from 'vitest';
import { kube } from '../support/cluster.ts';
import { kubectl } from '../support/kubectl.ts';
import {
  applicationOf,
  createMove,
  readMap,
  readMove,
  readOrders,
  waitUntilPaused,
} from '../support/move-scene.ts';
import { startWriters, type Writers } from '../support/move-writers.ts';
import { query } from '../support/pg.ts';
import { RowLedger } from '../support/row-ledger.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  memberPods,
  readCluster,
  type ShardMap,
  type SpecInput,
  shardMapType,
  waitForEvent,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('rebalance');
const key: ClusterKey = { namespace, name: 'shop' };
const buckets = 8;
const customers = 600;
const spec: Partial<SpecInput> = {
  shards: { count: 2 },
  // Counted, so that the load of the machine that runs the tests does not matter.
  rebalance: { interval: '5s', strategy: 'byCount' },
  schema: [
    {
      name: '001',
      sql: `
        CREATE TABLE countries (code text PRIMARY KEY);
        INSERT INTO countries VALUES ('de'), ('fr');
        CREATE TABLE customers (id int PRIMARY KEY, country text NOT NULL REFERENCES countries) PARTITION BY HASH (id);
        CREATE TABLE orders (
          customer_id int NOT NULL REFERENCES customers, id int, amount int, note text, PRIMARY KEY (customer_id, id)
        ) PARTITION BY HASH (customer_id)`,
    },
  ],
  tables: [
    { name: 'countries', strategy: 'reference' },
    { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets },
    { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
  ],
};

/** Number of buckets by shard. */
async function owned(): Promise<Record<string, number>> {
  const map = await (await kube()).get<ShardMap>(shardMapType, key);
  const counts: Record<string, number> = {};
  for (const { shard } of map?.spec.groups[0]?.buckets ?? []) counts[shard] = (counts[shard] ?? 0) + 1;
  return counts;
}

async function waitForOwners(wanted: Record<string, number>): Promise<void> {
  await waitFor(
    `the buckets are spread like ${JSON.stringify(wanted)}`,
    async () => {
      const found = await owned();
      const { status } = await readCluster(key);
      const isThere = Object.keys({ ...wanted, ...found }).every(
        (name) => (wanted[name] ?? 0) === (found[name] ?? 0),
      );
      const isAtRest = status?.rebalance?.runningMoves === 0;
      return isThere && isAtRest ? { done: true } : { state: [found, status?.rebalance] };
    },
    { timeoutMs: 300_000 },
  );
}

/** The first number of a row that writers may write. */
const firstWritten = 1_000_000;

/** Rows over all shards that own something, but for those of writers. */
async function countRows(): Promise<{ customers: number; orders: number }> {
  const total = { customers: 0, orders: 0 };
  for (const shard of Object.keys(await owned())) {
    const [row] = await query<{ customers: number; orders: number }>(
      { namespace, cluster: 'shop', shard },
      'SELECT (SELECT count(*)::int FROM customers) AS customers, (SELECT count(*)::int FROM orders WHERE id < $1) AS orders',
      [firstWritten],
    );
    total.customers += row?.customers ?? 0;
    total.orders += row?.orders ?? 0;
  }
  return total;
}

/** Ends the writers: they saw no error, and what they were told of every row is what is there. */
async function expectNoHarm(writers: Writers): Promise<void> {
  const report = await writers.stop();
  const { acknowledged, redirected, longestGapMs } = report;
  console.log(
    `${acknowledged} commits, ${redirected} redirected, longest gap ${Math.round(longestGapMs)} ms`,
  );
  expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
  expect(redirected).toBeGreaterThan(0);
  const written = (await readOrders(key)).filter((row) => Number(row.key.split('/')[1]) >= firstWritten);
  expect(report.ledger.judge(written)).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
}

describe('a cluster that is scaled with its data, under writers to every bucket', () => {
  const keys = Array.from({ length: 60 }, (_, index) => index * 10 + 1);
  const ledger = new RowLedger();
  const startWork = (run: number) =>
    startWriters(applicationOf(key, 5_000), keys, { writers: 8, everyMs: 50, run, ledger });

  beforeAll(async () => {
    await applyCluster(key, spec);
    await waitUntilReady(key, { timeoutMs: 180_000 });
    for (const shard of ['s0', 's1']) {
      await query(
        { namespace, cluster: 'shop', shard },
        `DO $$ BEGIN FOR n IN 1..${customers} LOOP
          BEGIN INSERT INTO public.customers VALUES (n, 'de'); INSERT INTO public.orders VALUES (n, 1, 0, NULL);
          EXCEPTION WHEN check_violation THEN NULL; END;
          END LOOP; END $$`,
      );
    }
  });

  it('fills shards that are added', async () => {
    expect(await countRows()).toEqual({ customers, orders: customers });
    const writers = startWork(0);
    await kubectl(['scale', '-n', namespace, 'shardedcluster/shop', '--replicas=4']);
    await waitForOwners({ s0: 2, s1: 2, s2: 2, s3: 2 });
    await expectNoHarm(writers);
    expect(await countRows()).toEqual({ customers, orders: customers });
    const moves = await kubectl([
      'get',
      '-n',
      namespace,
      'shardmoves',
      '-o',
      'jsonpath={.items[*].status.phase}',
    ]);
    expect(moves.split(' ').filter((phase) => phase !== 'retain' && phase !== 'done')).toEqual([]);
  });

  it('empties the shards that own least, takes them away, and lets their volumes be', async () => {
    // Rows that hardly compress: the last shard has by far the most, so that those before it go.
    const notes =
      "UPDATE public.orders SET note = (SELECT string_agg(md5(random()::text || part), '') FROM generate_series(1, 300) part)";
    await query({ namespace, cluster: 'shop', shard: 's3' }, notes);
    await waitFor('the sizes are measured', async () => {
      const { status } = await readCluster(key);
      const sizes = status?.rebalance?.shards.map(({ bytes }) => bytes) ?? [];
      return (sizes[3] ?? 0) > 1_000_000 ? { done: true } : { state: sizes };
    });
    const writers = startWork(1);
    await kubectl(['scale', '-n', namespace, 'shardedcluster/shop', '--replicas=2']);
    await waitForOwners({ s0: 4, s3: 4 });
    await waitUntilReady(key, { timeoutMs: 300_000 });
    await waitFor(
      'the pods of both shards are gone',
      async () => {
        const pods = [...(await memberPods(key, 's1')), ...(await memberPods(key, 's2'))];
        if (pods.length === 0) return { done: true };
        const names = pods.map(({ metadata }) => [metadata.name, metadata.deletionTimestamp]);
        return { state: [names, (await readCluster(key)).status?.conditions] };
      },
      { timeoutMs: 300_000 },
    );
    await expectNoHarm(writers);
    expect(await countRows()).toEqual({ customers, orders: customers });
    const claims = await kubectl(['get', '-n', namespace, 'pvc', '-o', 'jsonpath={.items[*].metadata.name}']);
    expect(claims.split(' ')).toEqual(expect.arrayContaining(['data-shop-s1-0', 'data-shop-s2-0']));
    expect((await readCluster(key)).status?.shards).toMatchObject({ desired: 2, names: ['s0', 's3'] });
    for (const shard of ['s1', 's2'])
      await waitForEvent(
        key,
        new RegExp(`ShardLeaving shard ${shard} .* in 2 buckets, the least of those that may go`),
      );
  });

  it('keeps a shard to which something is still copied, and lets it go with its volume when that is cancelled', async () => {
    await applyCluster(key, { ...spec, shards: { count: 3 }, rebalance: { mode: 'manual' } });
    await waitUntilReady(key, { timeoutMs: 180_000 });
    const bucket = (await readMap(key)).spec.groups[0]?.buckets.find(({ shard }) => shard === 's0')?.id ?? -1;
    // The first name that is free comes back.
    await createMove(key, 'held', { bucket, to: 's1', before: 'subscribe' });
    await waitUntilPaused(key, 'held', 'subscribe');
    await applyCluster(key, {
      ...{ ...spec, rebalance: { mode: 'manual' } },
      ...{ deletionPolicy: 'delete', holdPeriod: '2s' },
    });
    const condition = async () =>
      (await readCluster(key)).status?.conditions?.find(({ reason }) => reason === 'Draining')?.message;
    await waitFor('the shard is kept', async () => {
      const told = await condition();
      return told?.includes('takes part in a ShardMove') ? { done: true } : { state: told };
    });
    expect(await memberPods(key, 's1')).not.toEqual([]);
    await kubectl(['patch', '-n', namespace, 'smv/held', '--type=merge', '-p', '{"spec":{"cancel":true}}']);
    await waitFor('the shard is gone', async () => {
      const pods = await memberPods(key, 's1');
      return pods.length === 0 ? { done: true } : { state: (await readCluster(key)).status?.conditions };
    });
    expect((await readMove(key, 'held')).status?.phase).toBe('cancelled');
    // Nothing has used them for as long as they are to be held; those of the other shards stay.
    await waitFor('the volumes of shards that are gone are gone, too', async () => {
      const claims = await kubectl(['get', '-n', namespace, 'pvc', '-o', 'name']);
      return /-s[12]-/.test(claims) ? { state: claims } : { done: true };
    });
    const claims = await kubectl(['get', '-n', namespace, 'pvc', '-o', 'jsonpath={.items[*].metadata.name}']);
    expect(claims.split(' ').sort()).toEqual(['data-shop-s0-0', 'data-shop-s3-0']);
    expect(await countRows()).toEqual({ customers, orders: customers });
  });
});
