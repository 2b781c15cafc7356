import { afterAll, beforeAll, expect, it } from 'vitest';
import { shardMoveSpec } from '../../src/api/v1alpha1/shard-move.ts';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import type { ConnectOptions } from '../../src/postgres/connection.ts';
import { createConnections } from '../../src/postgres/connections.ts';
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
import { persistentVolumeClaimType } from '../../src/runtime/kubernetes-types.ts';
import { type MemoryApi, memoryApi } from '../support/memory-api.ts';
import { type MoveShards, startShards } from '../support/move-world.ts';
import type { ShardMap } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = 'test';
const key = { namespace, name: 'shop' };
const sql = `
  CREATE TABLE orders (id int PRIMARY KEY) PARTITION BY HASH (id);
  CREATE TABLE events (at date, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
  CREATE TABLE accounts (tenant text, id int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant)`;
const tables = [
  { name: 'orders', strategy: 'hash' as const, key: 'id', buckets: 2 },
  {
    name: 'events',
    strategy: 'range' as const,
    key: 'at',
    bounds: [{ to: '2026-01-01' }, { from: '2026-01-01' }],
  },
  { name: 'accounts', strategy: 'directory' as const, key: 'tenant', buckets: 1 },
];

let shards: MoveShards;
let api: MemoryApi;
let running: RunningController;
const connections = createConnections();
const abort = new AbortController();

beforeAll(async () => {
  shards = await startShards(sql, tables);
  const [rest] = bucketsIn(shards.map.current.value, 'accounts');
  await shards.rows(
    's0',
    "INSERT INTO public.events SELECT '2025-01-01'::date + n, n FROM generate_series(0, 299) n",
  );
  const accounts = "INSERT INTO public.accounts SELECT 't' || n % 5, n FROM generate_series(1, 100) n";
  await shards.rows(rest?.shard ?? '', accounts);
  api = memoryApi();
  const spec = { ...shards.map.current.value, cluster: 'shop' };
  const base = { apiVersion: 'herdsman.dev/v1alpha1', metadata: { ...key } };
  api.create(shardMapType, { ...base, kind: 'ShardMap', spec });
  const cluster = shardedClusterSpec.parse({ storage: { size: '10Gi' }, shards: { count: 2 }, tables });
  api.create(shardedClusterType, { ...base, kind: 'ShardedCluster', spec: cluster });
  const sources = {
    clusters: api.informer<ShardedCluster>(shardedClusterType, {}),
    replicaSets: api.informer(readReplicaSetType, { cluster: () => [] }),
    claims: api.informer(persistentVolumeClaimType, { cluster: () => [] }),
    moves: api.informer<ShardMove>(shardMoveType, {
      cluster: ({ spec }) => [`${namespace}/${spec.cluster}`],
    }),
  } as unknown as Sources;
  const primaries = shards.servers.map(({ host, port, password }, index): [string, ConnectOptions] => [
    `s${index}`,
    { host, port, database: 'app', user: 'herdsman', password, tls: 'off' },
  ]);
  const controller = shardMoveController({
    client: api.client,
    sources,
    connections,
    events: { record: () => undefined, flush: async () => undefined },
    clock: systemClock,
    findPrimaries: async () => new Map(primaries),
    addressOf: (_, shard) => {
      const server = shards.servers[Number(shard.slice(1))];
      return { host: server?.host ?? '', port: String(server?.port), dbname: 'app', sslmode: 'disable' };
    },
  });
  running = controller.start({ signal: abort.signal });
}, 120_000);

afterAll(async () => {
  await running?.stop(5_000);
  abort.abort();
  await connections.close();
  await shards?.stop();
});

function bucketsIn(map: ShardMap['spec'], group: string): ShardMap['spec']['groups'][number]['buckets'] {
  return map.groups.find(({ name }) => name === group)?.buckets ?? [];
}

const bucketsOf = (group: string) => bucketsIn(api.get<ShardMapObject>(shardMapType, key).spec, group);
const other = (shard = '') => (shard === 's0' ? 's1' : 's0');

/** Asks for a change, and answers the status when it has ended. */
async function change(name: string, spec: object): Promise<NonNullable<ShardMove['status']>> {
  api.create(shardMoveType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { namespace, name },
    spec: shardMoveSpec.parse({ cluster: 'shop', retention: '0s', ...spec }),
  });
  return waitFor(`ShardMove ${name} has ended`, async () => {
    const { status } = api.get<ShardMove>(shardMoveType, { namespace, name });
    return status?.phase === 'done' || status?.phase === 'failed' ? { done: status } : { state: status };
  });
}

it('a hash bucket is split, and its parts are merged', async () => {
  const split = await change('split', { operation: 'split', group: 'orders', buckets: [0], to: 's1' });
  expect(split).toMatchObject({ phase: 'done', from: 's0', children: [{ id: 2 }, { id: 3 }] });
  expect(bucketsOf('orders').map(({ id }) => id)).toEqual([1, 2, 3]);
  const merge = await change('merge', { operation: 'merge', group: 'orders', buckets: [2, 3], to: 's0' });
  expect(merge).toMatchObject({ phase: 'done', children: [{ id: 4, hash: { modulus: 2, remainder: 0 } }] });
});

it('a range is split at its median', async () => {
  const status = await change('median', { operation: 'split', group: 'events', buckets: [0], to: 's1' });
  expect(status).toMatchObject({
    phase: 'done',
    children: [{ range: { to: '2025-05-30' } }, { range: { from: '2025-05-30', to: '2026-01-01' } }],
  });
});

it('a tenant is isolated', async () => {
  const to = other(bucketsOf('accounts')[0]?.shard);
  const status = await change('isolate', { operation: 'isolate', group: 'accounts', tenant: 't3', to });
  expect(status).toMatchObject({ phase: 'done', children: [{ values: ['t3'] }, { isDefault: true }] });
  const rows = await shards.rows(to, 'SELECT count(*)::int AS rows FROM public.accounts_b0001');
  expect(rows).toEqual([{ rows: 20 }]);
});

it.each([
  ['no-bucket', { operation: 'split', group: 'orders', buckets: [99], to: 's1' }, 'has no bucket 99'],
  ['same', { operation: 'split', group: 'orders', buckets: [4], to: 's0' }, 'write "to: s1"'],
  [
    'apart',
    { operation: 'merge', group: 'orders', buckets: [1, 4], to: 's0' },
    'move them to one shard first',
  ],
  [
    'outside',
    { operation: 'split', group: 'events', buckets: [1], at: '2020-01-01', to: 's0' },
    'leave "at" out',
  ],
  [
    'no-date',
    { operation: 'split', group: 'events', buckets: [1], at: 'never', to: 's0' },
    'is not a key of this group',
  ],
  ['empty', { operation: 'split', group: 'events', buckets: [1], to: 's0' }, 'write "at"'],
  ['cousins', { operation: 'merge', group: 'events', buckets: [1, 2], to: 's0' }, 'cannot be merged'],
  [
    'stranger',
    { operation: 'isolate', group: 'accounts', tenant: 'nobody', to: 's0' },
    'see to its spelling',
  ],
  ['twice', { operation: 'isolate', group: 'accounts', tenant: 't3', to: 's0' }, 'write "operation: move"'],
])('what cannot be is refused with what to write instead: %s', async (name, spec, says) => {
  const status = await change(name, spec);
  expect(status).toMatchObject({ phase: 'failed', message: expect.stringContaining(says) });
});

it('moves of two people that cross keep out of each other’s way', async () => {
  const ended = await Promise.all([
    change('there', { group: 'orders', buckets: [4], to: 's1' }),
    change('here', { group: 'orders', buckets: [1], to: 's0' }),
  ]);
  expect(ended).toMatchObject([{ phase: 'done' }, { phase: 'done' }]);
  expect(bucketsOf('orders')).toMatchObject([
    { id: 1, shard: 's0' },
    { id: 4, shard: 's1' },
  ]);
});

it('of two people who move the same bucket, one does, and the other is told', async () => {
  const ended = await Promise.all(
    ['first', 'second'].map((name) => change(name, { group: 'orders', buckets: [1], to: 's1' })),
  );
  expect(ended.map(({ phase }) => phase).sort()).toEqual(['done', 'failed']);
  expect(ended.find(({ phase }) => phase === 'failed')?.lastEnding?.message).toMatch(
    /on shard s1 already|owner is s1/,
  );
  expect(bucketsOf('orders')).toContainEqual(expect.objectContaining({ id: 1, shard: 's1' }));
});
