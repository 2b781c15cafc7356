import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import type { ConnectOptions } from '../../src/postgres/connection.ts';
import { createConnections } from '../../src/postgres/connections.ts';
import { rebalanceController } from '../../src/resources/rebalance/controller.ts';
import { shardMoveController } from '../../src/resources/shard-move/controller.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import {
  readReplicaSetType,
  shardedClusterType,
  shardMapType,
  shardMoveType,
} from '../../src/resources/sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../../src/resources/sharded-cluster/model.ts';
import type { Sources } from '../../src/resources/sharded-cluster/sources.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import type { RunningController } from '../../src/runtime/controller.ts';
import type { EventInput, EventRecorder } from '../../src/runtime/events.ts';
import { persistentVolumeClaimType, podType } from '../../src/runtime/kubernetes-types.ts';
import { type MemoryApi, memoryApi } from '../support/memory-api.ts';
import { type MoveShards, startShards } from '../support/move-world.ts';
import { waitFor } from '../support/wait.ts';

const namespace = 'test';
const key = { namespace, name: 'shop' };
const sql = `
  CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
  CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, PRIMARY KEY (customer_id, id))
    PARTITION BY HASH (customer_id)`;
const tables = [
  { name: 'customers', strategy: 'hash' as const, key: 'id', group: 'customer', buckets: 12 },
  { name: 'orders', strategy: 'hash' as const, key: 'customer_id', group: 'customer' },
];

let shards: MoveShards;
let api: MemoryApi;
let running: RunningController[] = [];
const connections = createConnections();
const events: EventInput[] = [];
const abort = new AbortController();

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
  api = memoryApi();
  api.create(shardMapType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMap',
    metadata: { ...key, labels: { 'herdsman.dev/cluster': 'shop' } },
    spec: { ...shards.map.current.value, cluster: 'shop' },
  });
  const item = { ready: true, readyMembers: 1, members: [] };
  api.create(shardedClusterType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardedCluster',
    metadata: { ...key },
    spec: shardedClusterSpec.parse({
      storage: { size: '10Gi' },
      shards: { count: 3 },
      // The load of the machine that runs the tests is none of the cluster's.
      rebalance: { mode: 'auto', strategy: 'byCount', interval: '300ms' },
      tables,
    }),
    status: {
      shards: {
        desired: 3,
        current: 3,
        ready: 3,
        summary: '',
        items: ['s0', 's1', 's2'].map((name) => ({ name, ...item })),
      },
    },
  });
  start();
}, 120_000);

afterAll(async () => {
  await Promise.all(running.map((controller) => controller.stop(5_000)));
  abort.abort();
  await connections.close();
  await shards?.stop();
});

/** The two controllers, as the operator runs them; servers without TLS stand for pods. */
function start(): void {
  const { client } = api;
  const byCluster = (cluster: string) => [`${namespace}/${cluster}`];
  const sources = {
    clusters: api.informer<ShardedCluster>(shardedClusterType, {}),
    maps: api.informer<ShardMapObject>(shardMapType, {}),
    replicaSets: api.informer(readReplicaSetType, { cluster: () => [] }),
    claims: api.informer(persistentVolumeClaimType, { cluster: () => [] }),
    moves: api.informer<ShardMove>(shardMoveType, { cluster: ({ spec }) => byCluster(spec.cluster) }),
    pods: api.informer(podType, { cluster: () => [] }),
  } as unknown as Sources;
  const recorder: EventRecorder = {
    record: (_, event) => void events.push(event),
    flush: async () => undefined,
  };
  const addresses = shards.servers.map(({ host, port, password }, index): [string, ConnectOptions] => [
    `s${index}`,
    { host, port, database: 'app', user: 'herdsman', password, tls: 'off' },
  ]);
  const common = {
    client,
    sources,
    connections,
    events: recorder,
    clock: systemClock,
    findPrimaries: async () => new Map(addresses),
  };
  const addressOf = (_: ShardedCluster, shard: string) => {
    const server = shards.servers[Number(shard.slice(1))];
    return { host: server?.host ?? '', port: String(server?.port), dbname: 'app', sslmode: 'disable' };
  };
  running = [rebalanceController(common), shardMoveController({ ...common, addressOf })].map((controller) =>
    controller.start({ signal: abort.signal }),
  );
}

function owned(): Record<string, number> {
  const counts: Record<string, number> = { s0: 0, s1: 0, s2: 0 };
  for (const { shard } of api.get<ShardMapObject>(shardMapType, key).spec.groups[0]?.buckets ?? []) {
    counts[shard] = (counts[shard] ?? 0) + 1;
  }
  return counts;
}

function statusOf(): NonNullable<ShardedCluster['status']> {
  return api.get<ShardedCluster>(shardedClusterType, key).status ?? {};
}

async function waitForOwners(wanted: Record<string, number>): Promise<void> {
  await waitFor(
    `the buckets are spread like ${JSON.stringify(wanted)}`,
    () => {
      const { rebalance } = statusOf();
      const isThere = JSON.stringify(owned()) === JSON.stringify(wanted) && rebalance?.runningMoves === 0;
      return isThere ? { done: true } : { state: [owned(), rebalance, events.slice(-3)] };
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
    api.change(shardedClusterType, key, { shards: { count: 2, zones: [] } });
    await waitForOwners({ s0: 6, s1: 6, s2: 0 });
    expect(await countRows()).toEqual(everything);
    expect(events.filter((event) => event.type === 'Warning')).toEqual([]);
    const left = await shards.rows(
      's2',
      `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'own'::regnamespace)
        UNION ALL SELECT slot_name FROM pg_replication_slots UNION ALL SELECT gid FROM pg_prepared_xacts
        UNION ALL SELECT subname FROM pg_subscription UNION ALL SELECT pubname FROM pg_publication`,
    );
    expect(left).toEqual([]);
  });

  it('fills a shard that is added', async () => {
    api.change(shardedClusterType, key, { shards: { count: 3, zones: [] } });
    await waitForOwners({ s0: 4, s1: 4, s2: 4 });
    expect(await countRows()).toEqual(everything);
  });

  it('moves a bucket that a user asks for, keeps the old rows for a while, and tells what it did', async () => {
    const bucket = api
      .get<ShardMapObject>(shardMapType, key)
      .spec.groups[0]?.buckets.find(({ shard }) => shard === 's0')?.id;
    api.change(shardedClusterType, key, {
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
    const ofOne = api
      .get<ShardMapObject>(shardMapType, key)
      .spec.groups[0]?.buckets.find(({ shard }) => shard === 's1')?.id;
    const buckets = (spec as { buckets?: number[] }).buckets?.map((id) => (id === -1 ? ofOne : id)) ?? [
      ofOne,
    ];
    const name = what.replaceAll(' ', '-');
    ask(name, { to: 's2', ...spec, buckets });
    const status = await phaseOf(name, 'failed');
    expect(status?.message).toMatch(says);
    expect(api.get<ShardMove>(shardMoveType, { namespace, name }).metadata.finalizers ?? []).toEqual([]);
  });

  it('lets a move that is deleted end without a trace', async () => {
    const bucket = api
      .get<ShardMapObject>(shardMapType, key)
      .spec.groups[0]?.buckets.find(({ shard }) => shard === 's2')?.id;
    const before = owned();
    ask('dropped', { buckets: [bucket], to: 's0' });
    await waitFor('it has begun', () => {
      const found = api.get<ShardMove>(shardMoveType, { namespace, name: 'dropped' });
      return (found.metadata.finalizers ?? []).length > 0 ? { done: true } : { state: found };
    });
    api.delete(shardMoveType, { namespace, name: 'dropped' });
    await waitFor('it is gone', async () => {
      const found = await api.client.get(shardMoveType, { namespace, name: 'dropped' });
      return found === undefined ? { done: true } : { state: found };
    });
    const pending = api
      .get<ShardMapObject>(shardMapType, key)
      .spec.groups[0]?.buckets.filter((entry) => entry.pending);
    expect(pending).toEqual([]);
    const slots = await shards.rows('s2', 'SELECT slot_name FROM pg_replication_slots');
    expect(slots).toEqual([]);
    // It may have been too late: then the bucket is on its new shard, whole.
    expect([before.s2, (before.s2 ?? 0) - 1]).toContain(owned().s2);
    expect(await countRows()).toEqual(everything);
  });
});

function ask(name: string, spec: object): void {
  api.create(shardMoveType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { namespace, name },
    spec: { cluster: 'shop', group: 'customer', ...spec },
  });
}

async function phaseOf(name: string, phase: string): Promise<ShardMove['status']> {
  return waitFor(`ShardMove ${name} is in the phase ${phase}`, () => {
    const { status } = api.get<ShardMove>(shardMoveType, { namespace, name });
    return status?.phase === phase ? { done: status } : { state: status };
  });
}
