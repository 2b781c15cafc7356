import { type ShardMoveSpec, shardMoveSpec } from '../../src/api/v1alpha1/shard-move.ts';
import { type ShardedClusterSpec, shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
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
import { persistentVolumeClaimType } from '../../src/runtime/kubernetes-types.ts';
import { memoryApi } from './memory-api.ts';
import { type MoveShards, startShards } from './move-world.ts';
import type { ShardMap } from './sharded-cluster.ts';
import { waitFor } from './wait.ts';

const namespace = 'test';
const key = { namespace, name: 'shop' };

type Status = NonNullable<ShardMove['status']>;
type Buckets = ShardMap['spec']['groups'][number]['buckets'];

/** The controller of ShardMoves before two real servers, `s0` and `s1`, and an API in memory. */
export interface MoveController {
  readonly shards: MoveShards;
  bucketsOf(group: string): Buckets;
  /** Makes a ShardMove of the cluster; nothing is retained unless the spec says so. */
  ask(name: string, spec: object, annotations?: Readonly<Record<string, string>>): void;
  /** Lets a move go on that waits before a step. */
  release(name: string): Promise<void>;
  /** Changes what a ShardMove asks for. */
  change(name: string, spec: Partial<ShardMoveSpec>): void;
  /** Has the controller hear of no change of any object until the answer is called. */
  holdBack(): () => void;
  changeCluster(spec: Partial<ShardedClusterSpec>): void;
  /** Waits until the status is as wanted, and answers it. */
  until(name: string, what: string, holds: (status: Status) => boolean): Promise<Status>;
  /** Asks for a move, and answers its status when it has ended. */
  end(name: string, spec: object): Promise<Status>;
  stop(): Promise<void>;
}

/** Starts it, with tables and the rows that `fill` writes. */
export async function startMoveController(
  sql: string,
  tables: ShardedClusterSpec['tables'],
  fill: (shards: MoveShards) => Promise<void>,
): Promise<MoveController> {
  const shards = await startShards(sql, tables);
  await fill(shards);
  const connections = createConnections();
  const abort = new AbortController();
  const api = memoryApi();
  const base = { apiVersion: 'herdsman.dev/v1alpha1', metadata: { ...key } };
  const map = { ...shards.map.current.value, cluster: 'shop' };
  api.create(shardMapType, { ...base, kind: 'ShardMap', spec: map });
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
  const running = shardMoveController({
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
  }).start({ signal: abort.signal });
  const controller: MoveController = {
    shards,
    bucketsOf: (group) =>
      api.get<ShardMapObject>(shardMapType, key).spec.groups.find(({ name }) => name === group)?.buckets ??
      [],
    ask(name, spec, annotations = {}) {
      api.create(shardMoveType, {
        apiVersion: 'herdsman.dev/v1alpha1',
        kind: 'ShardMove',
        metadata: { namespace, name, annotations },
        spec: shardMoveSpec.parse({ cluster: 'shop', retention: '0s', ...spec }),
      });
    },
    async release(name) {
      const patch = { metadata: { annotations: {} } };
      await api.client.patch(shardMoveType, { namespace, name }, patch, { type: 'merge' });
    },
    change: (name, spec) => api.change(shardMoveType, { namespace, name }, spec),
    holdBack: api.holdBack,
    changeCluster: (spec) => api.change(shardedClusterType, key, spec),
    until: (name, what, holds) =>
      waitFor(`ShardMove ${name} ${what}`, () => {
        const { status = {} } = api.get<ShardMove>(shardMoveType, { namespace, name });
        return holds(status) ? { done: status } : { state: JSON.stringify(status) };
      }),
    end(name, spec) {
      controller.ask(name, spec);
      return controller.until(name, 'has ended', ({ phase }) => phase === 'done' || phase === 'failed');
    },
    async stop() {
      await running.stop(5_000);
      abort.abort();
      await connections.close();
      await shards.stop();
    },
  };
  return controller;
}
