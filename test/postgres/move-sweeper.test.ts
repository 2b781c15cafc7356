import { afterAll, beforeAll, expect, it } from 'vitest';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import type { ConnectOptions } from '../../src/postgres/connection.ts';
import { createConnections } from '../../src/postgres/connections.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { moveSweeper } from '../../src/resources/shard-move/sweeper.ts';
import {
  shardedClusterType,
  shardMapType,
  shardMoveType,
} from '../../src/resources/sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../../src/resources/sharded-cluster/model.ts';
import { byCluster, clusterIndexValue } from '../../src/resources/sharded-cluster/sources.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import type { EventInput } from '../../src/runtime/events.ts';
import { type MemoryApi, memoryApi } from '../support/memory-api.ts';
import { type MoveShards, planMove, startShards, type TestMove } from '../support/move-world.ts';
import { waitFor } from '../support/wait.ts';

const namespace = 'test';
const key = { namespace, name: 'shop' };
const tables = [{ name: 'orders', strategy: 'hash' as const, key: 'id', buckets: 4 }];

let shards: MoveShards;
beforeAll(async () => {
  shards = await startShards('CREATE TABLE orders (id int PRIMARY KEY) PARTITION BY HASH (id)', tables);
});
afterAll(() => shards?.stop());

/** An API server with the cluster and the map as they are; the ShardMove is there only if its uid is given. */
function serve(test: TestMove, isThere: boolean): MemoryApi {
  const api = memoryApi();
  const map = { ...shards.map.current.value, cluster: 'shop' };
  const base = { apiVersion: 'herdsman.dev/v1alpha1', metadata: { ...key } };
  api.create(shardMapType, { ...base, kind: 'ShardMap', spec: map });
  const spec = shardedClusterSpec.parse({ storage: { size: '1Gi' }, shards: { count: 2 }, tables });
  api.create(shardedClusterType, { ...base, kind: 'ShardedCluster', spec });
  if (!isThere) return api;
  const metadata = { namespace, name: 'there', uid: `${test.move.id}-0000-4000-8000-000000000000` };
  api.create(shardMoveType, { ...base, kind: 'ShardMove', metadata });
  return api;
}

/** Runs the sweeper until the condition holds. */
async function sweep(api: MemoryApi, until: () => Promise<boolean>): Promise<EventInput[]> {
  const connections = createConnections();
  const events: EventInput[] = [];
  const addresses = shards.servers.map(({ host, port, password }, index): [string, ConnectOptions] => [
    `s${index}`,
    { host, port, database: 'app', user: 'herdsman', password, tls: 'off' },
  ]);
  let looked = 0;
  const controller = moveSweeper({
    client: api.client,
    sources: {
      clusters: api.informer<ShardedCluster>(shardedClusterType, {}),
      maps: api.informer<ShardMapObject>(shardMapType, {}),
      moves: api.informer<ShardMove>(shardMoveType, {
        [byCluster]: () => [clusterIndexValue(namespace, 'shop')],
      }),
    },
    clock: systemClock,
    connections,
    events: { record: (_, event) => void events.push(event), flush: async () => undefined },
    findPrimaries: async () => {
      looked += 1;
      return new Map(addresses);
    },
    everyMs: 20,
  }).start({ signal: new AbortController().signal });
  await waitFor('it is swept', async () =>
    (await until()) && looked > 5 ? { done: true } : { state: looked },
  );
  await controller.stop(5_000);
  await connections.close();
  return events;
}

async function prepared(): Promise<unknown[]> {
  const found = await Promise.all(
    ['s0', 's1'].map((shard) => shards.rows(shard, 'SELECT gid FROM pg_prepared_xacts')),
  );
  return found.flat();
}

async function stopAfter(kind: 'gate' | 'decide', bucket: number): Promise<TestMove> {
  const test = planMove(shards, { bucket });
  const operator = test.operator(kind);
  await expect(operator.run()).rejects.toThrow();
  await operator.close();
  expect(await prepared()).toHaveLength(2);
  return test;
}

it('leaves alone what a ShardMove may still want, and rolls back what none wants', async () => {
  const test = await stopAfter('gate', 0);
  expect(await sweep(serve(test, true), async () => true)).toEqual([]);
  expect(await prepared()).toHaveLength(2);

  const api = serve(test, false);
  const events = await sweep(api, async () => (await prepared()).length === 0);
  expect(events.slice(0, 2)).toMatchObject([{ reason: 'MoveSwept' }, { reason: 'MoveSwept' }]);
  const [bucket] = api.get<ShardMapObject>(shardMapType, key).spec.groups[0]?.buckets ?? [];
  expect(bucket).toMatchObject({ shard: 's0' });
  expect(bucket?.pending).toBeUndefined();
  expect(await shards.rows('s0', 'SELECT bucket FROM own.orders_b0000')).toEqual([{ bucket: 0 }]);
});

/** What moves have on a shard, but for dead leaves. */
async function debris(shard: string): Promise<string[]> {
  const rows = await shards.rows<{ name: string }>(
    shard,
    `SELECT subname::text AS name FROM pg_subscription UNION ALL SELECT slot_name FROM pg_replication_slots
      UNION ALL SELECT pubname FROM pg_publication UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'hm%'
      UNION ALL SELECT move FROM herdsman.moves UNION ALL SELECT id FROM herdsman.move_sentinels
      UNION ALL SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        AND NOT c.relispartition`,
  );
  return rows.map(({ name }) => name);
}

it.each(['stage', 'copy-rows', 'verify', 'announce'] as const)(
  'takes away what a ShardMove that is gone has left after "%s"',
  async (kind) => {
    const bucket = 2;
    const test = planMove(shards, { bucket });
    const operator = test.operator(kind);
    await expect(operator.run()).rejects.toThrow();
    await operator.close();
    const left = async () => [...(await debris('s0')), ...(await debris('s1'))];
    expect(await left()).not.toEqual([]);
    const stays = serve(test, true);
    await sweep(stays, async () => true);
    expect(await left()).not.toEqual([]);

    const api = serve(test, false);
    await sweep(api, async () => (await left()).length === 0);
    const map = api.get<ShardMapObject>(shardMapType, key).spec;
    expect(map.groups[0]?.buckets.find(({ id }) => id === bucket)).toMatchObject({ shard: 's0' });
    expect(JSON.stringify(map)).not.toContain('pending');
    shards.map.current = { version: '100', value: { ...map, cluster: 'test' } };
    await shards.reconcile();
  },
);

it('commits what the map has decided', async () => {
  const test = await stopAfter('decide', 2);
  await sweep(serve(test, false), async () => (await prepared()).length === 0);
  expect(await shards.rows('s1', 'SELECT bucket FROM own.orders_b0002')).toEqual([{ bucket: 2 }]);
  expect(await shards.rows('s0', "SELECT to_regclass('own.orders_b0002') AS marker")).toEqual([
    { marker: null },
  ]);
});

it('takes back what the map announces of a ShardMove that never was', async () => {
  const test = planMove(shards, { bucket: 2 });
  const api = serve(test, true);
  const map = api.get<ShardMapObject>(shardMapType, key);
  const pending = { move: 'by-hand.00000000', attempt: 1 };
  const groups = map.spec.groups.map((group) => ({
    ...group,
    buckets: group.buckets.map((bucket) => (bucket.id === 3 ? { ...bucket, pending } : bucket)),
  }));
  await api.client.update(shardMapType, { ...map, spec: { ...map.spec, groups } });
  const says = () => JSON.stringify(api.get<ShardMapObject>(shardMapType, key).spec);
  const events = await sweep(api, async () => !says().includes('pending'));
  expect(events.map(({ note }) => note)).toContainEqual(
    expect.stringContaining('announced moves that are over'),
  );
});
