import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import { rebalanceController } from '../../src/resources/rebalance/controller.ts';
import { shardMoveController } from '../../src/resources/shard-move/controller.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { shardedClusterType, shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import type { ShardedCluster } from '../../src/resources/sharded-cluster/model.ts';
import { clusterKey, type MemoryCluster, memoryCluster, namespace } from '../support/memory-cluster.ts';
import { type MoveShards, startShards } from '../support/move-world.ts';
import { waitFor } from '../support/wait.ts';

const sql = `
  CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
  CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, PRIMARY KEY (customer_id, id))
    PARTITION BY HASH (customer_id)`;
const tables = [
  { name: 'customers', strategy: 'hash' as const, key: 'id', group: 'customer', buckets: 12 },
  { name: 'orders', strategy: 'hash' as const, key: 'customer_id', group: 'customer' },
];

let shards: MoveShards;
let cluster: MemoryCluster;

beforeAll(async () => {
  shards = await startShards(sql, tables, { count: 3 });
  for (const name of ['s0', 's1', 's2']) {
    const app = await shards.connectApplication(name);
    // Each shard takes the keys of the buckets that it owns.
    await app.query({
      text: `DO $$ BEGIN FOR n IN 1..600 LOOP
        BEGIN INSERT INTO public.customers VALUES (n, 'c'); INSERT INTO public.orders VALUES (n, 1, n);
        EXCEPTION WHEN check_violation THEN NULL; END;
        END LOOP; END $$`,
    });
    await app.close();
  }
  const item = { ready: true, readyMembers: 1, members: [] };
  const items = ['s0', 's1', 's2'].map((name) => ({ name, ...item }));
  // The load of the machine that runs the tests is none of the cluster's.
  const rebalance = { mode: 'auto' as const, strategy: 'byCount' as const, interval: '300ms' };
  const status = { shards: { desired: 3, current: 3, ready: 3, summary: '', items } };
  cluster = memoryCluster(shards, { rebalance, tables }, status);
  cluster.start(rebalanceController(cluster.dependencies));
  cluster.start(shardMoveController(cluster.dependencies));
}, 120_000);

afterAll(async () => {
  await cluster?.stop();
  await shards?.stop();
});

function owned(): Record<string, number> {
  const counts: Record<string, number> = { s0: 0, s1: 0, s2: 0 };
  for (const { shard } of cluster.bucketsOf('customer')) {
    counts[shard] = (counts[shard] ?? 0) + 1;
  }
  return counts;
}

function statusOf(): NonNullable<ShardedCluster['status']> {
  return cluster.api.get<ShardedCluster>(shardedClusterType, clusterKey).status ?? {};
}

async function waitForOwners(wanted: Record<string, number>): Promise<void> {
  await waitFor(
    `the buckets are spread like ${JSON.stringify(wanted)}`,
    () => {
      const { rebalance } = statusOf();
      const isThere = JSON.stringify(owned()) === JSON.stringify(wanted) && rebalance?.runningMoves === 0;
      return isThere ? { done: true } : { state: [owned(), rebalance, cluster.events.slice(-3)] };
    },
    { timeoutMs: 50_000 },
  );
}

/** Rows of each table, over all shards. */
async function countRows(): Promise<unknown[]> {
  const counts = await Promise.all(
    ['s0', 's1', 's2'].map((shard) =>
      shards.rows<{ customers: number; orders: number; sum: number }>(
        shard,
        `SELECT (SELECT count(*)::int FROM public.customers) AS customers, count(*)::int AS orders,
          coalesce(sum(amount), 0)::int AS sum FROM public.orders`,
      ),
    ),
  );
  const total = { customers: 0, orders: 0, sum: 0 };
  for (const [row] of counts) {
    total.customers += row?.customers ?? 0;
    total.orders += row?.orders ?? 0;
    total.sum += row?.sum ?? 0;
  }
  return [total];
}

const everything = [{ customers: 600, orders: 600, sum: 180_300 }];

describe('a cluster that is rebalanced', () => {
  it('is at rest while it is even', async () => {
    await waitFor('it is balanced', () => {
      const { rebalance } = statusOf();
      return rebalance?.phase === 'Balanced' ? { done: true } : { state: rebalance };
    });
    expect(owned()).toEqual({ s0: 4, s1: 4, s2: 4 });
    expect(await countRows()).toEqual(everything);
  });

  it('empties a shard that is not wanted any more', async () => {
    cluster.api.change(shardedClusterType, clusterKey, { shards: { count: 2, zones: [] } });
    await waitForOwners({ s0: 6, s1: 6, s2: 0 });
    expect(await countRows()).toEqual(everything);
    expect(cluster.events.filter((event) => event.type === 'Warning')).toEqual([]);
    const left = await shards.rows(
      's2',
      `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'own'::regnamespace)
        UNION ALL SELECT slot_name FROM pg_replication_slots UNION ALL SELECT gid FROM pg_prepared_xacts
        UNION ALL SELECT subname FROM pg_subscription UNION ALL SELECT pubname FROM pg_publication`,
    );
    expect(left).toEqual([]);
  });

  it('fills a shard that is added', async () => {
    cluster.api.change(shardedClusterType, clusterKey, { shards: { count: 3, zones: [] } });
    await waitForOwners({ s0: 4, s1: 4, s2: 4 });
    expect(await countRows()).toEqual(everything);
  });

  it('moves a bucket that a user asks for, keeps the old rows for a while, and tells what it did', async () => {
    const bucket = cluster.bucketsOf('customer').find(({ shard }) => shard === 's0')?.id;
    cluster.api.change(shardedClusterType, clusterKey, {
      rebalance: { ...shardedClusterSpec.shape.rebalance.parse({}), mode: 'manual' },
    });
    ask('mine', { buckets: [bucket], to: 's1' });
    const status = await phaseOf('mine', 'retain');
    expect(status).toMatchObject({ from: 's0', bytes: expect.any(Number), fenceMs: expect.any(Number) });
    expect(status?.phases?.map(({ name }) => name).slice(0, 4)).toEqual([
      'preflight',
      'prepare',
      'copy',
      'catch-up',
    ]);
    expect(status?.steps?.map(({ name }) => name)).toEqual([
      ...['fence', 'drain', 'open', 'gate', 'decide', 'commit-target', 'commit-source'],
    ]);
    expect(status?.conditions).toMatchObject([
      { type: 'Ready', status: 'True' },
      { type: 'Progressing', status: 'False', reason: 'Retained' },
    ]);
    expect(owned()).toEqual({ s0: 3, s1: 5, s2: 4 });
    expect(await countRows()).toEqual(everything);
  });

  it.each([
    ['a group that is not there', { group: 'nobody' }, /there is no group "nobody".*customer/],
    ['a bucket that is not there', { buckets: [99] }, /group "customer" has no bucket 99/],
    ['a shard that is not there', { to: 's7' }, /there is no shard "s7".*s0, s1, s2/],
    [
      'a source that does not own it',
      { from: 's0', buckets: [-1], to: 's2' },
      /belongs to shard s1, not to s0/,
    ],
    ['the shard that it is on', { buckets: [-1], to: 's1' }, /is on shard s1 already/],
  ])('refuses %s', async (what, spec, says) => {
    const ofOne = cluster.bucketsOf('customer').find(({ shard }) => shard === 's1')?.id;
    const buckets = (spec as { buckets?: number[] }).buckets?.map((id) => (id === -1 ? ofOne : id)) ?? [
      ofOne,
    ];
    const name = what.replaceAll(' ', '-');
    ask(name, { to: 's2', ...spec, buckets });
    const status = await phaseOf(name, 'failed');
    expect(status?.message).toMatch(says);
    expect(cluster.api.get<ShardMove>(shardMoveType, { namespace, name }).metadata.finalizers ?? []).toEqual(
      [],
    );
  });

  it('lets a move that is deleted end without a trace', async () => {
    const bucket = cluster.bucketsOf('customer').find(({ shard }) => shard === 's2')?.id;
    const before = owned();
    ask('dropped', { buckets: [bucket], to: 's0' });
    await waitFor('it has begun', () => {
      const found = cluster.api.get<ShardMove>(shardMoveType, { namespace, name: 'dropped' });
      return (found.metadata.finalizers ?? []).length > 0 ? { done: true } : { state: found };
    });
    cluster.api.delete(shardMoveType, { namespace, name: 'dropped' });
    await waitFor('it is gone', async () => {
      const found = await cluster.api.client.get(shardMoveType, { namespace, name: 'dropped' });
      return found === undefined ? { done: true } : { state: found };
    });
    const pending = cluster.bucketsOf('customer').filter((entry) => entry.pending);
    expect(pending).toEqual([]);
    const slots = await shards.rows('s2', 'SELECT slot_name FROM pg_replication_slots');
    expect(slots).toEqual([]);
    // It may have been too late: then the bucket is on its new shard, whole.
    expect([before.s2, (before.s2 ?? 0) - 1]).toContain(owned().s2);
    expect(await countRows()).toEqual(everything);
  });
});

describe('a rebalancer that may move nothing any more', () => {
  it.each(['manual', 'off'] as const)('takes back what it wrote and has not begun: mode %s', async (mode) => {
    const bucket = cluster.bucketsOf('customer').find(({ shard }) => shard === 's1')?.id;
    const rebalance = shardedClusterSpec.shape.rebalance.parse({ mode, interval: '300ms' });
    const names = [`own-${mode}`, `mine-${mode}`] as const;
    const isThere = async (name: string) =>
      (await cluster.api.client.get(shardMoveType, { namespace, name })) !== undefined;
    const hour = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString().slice(11, 16);
    const waits = { buckets: [bucket], to: 's2', window: { start: hour(2), end: hour(3) } };
    ask(names[0], waits, { 'app.kubernetes.io/managed-by': 'herdsman' });
    ask(names[1], waits);
    cluster.api.change(shardedClusterType, clusterKey, { rebalance });
    await waitFor('its own is gone', async () => {
      return (await isThere(names[0])) ? { state: statusOf().rebalance } : { done: true };
    });
    expect(await isThere(names[1])).toBe(true);
    const told = cluster.events.filter(({ reason }) => reason === 'MoveWithdrawn').map(({ note }) => note);
    expect(told).toContain(
      `ShardMove ${names[0]}, which had not begun, was taken back: spec.rebalance.mode is ${mode}`,
    );
    cluster.api.delete(shardMoveType, { namespace, name: names[1] });
  });
});

function ask(name: string, spec: object, labels: Readonly<Record<string, string>> = {}): void {
  cluster.api.create(shardMoveType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { namespace, name, labels },
    spec: { cluster: 'shop', group: 'customer', ...spec },
  });
}

async function phaseOf(name: string, phase: string): Promise<ShardMove['status']> {
  return waitFor(`ShardMove ${name} is in the phase ${phase}`, () => {
    const { status } = cluster.api.get<ShardMove>(shardMoveType, { namespace, name });
    return status?.phase === phase ? { done: status } : { state: status };
  });
}
