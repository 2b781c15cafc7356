import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import type { ConnectOptions } from '../../src/postgres/connection.ts';
import { createConnections } from '../../src/postgres/connections.ts';
import type { ShardMoveDependencies } from '../../src/resources/shard-move/controller.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import {
  readReplicaSetType,
  shardedClusterType,
  shardMapType,
  shardMoveType,
} from '../../src/resources/sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../../src/resources/sharded-cluster/model.ts';
import { byCluster, clusterIndexValue, type Sources } from '../../src/resources/sharded-cluster/sources.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import type { Controller, RunningController } from '../../src/runtime/controller.ts';
import type { EventInput } from '../../src/runtime/events.ts';
import { persistentVolumeClaimType, podType } from '../../src/runtime/kubernetes-types.ts';
import { type MemoryApi, memoryApi } from './memory-api.ts';
import type { MoveShards } from './move-world.ts';
import type { ShardMap, SpecInput } from './sharded-cluster.ts';

/** Where all objects of a `memoryCluster` are. */
export const namespace = 'test';
/** The cluster, and its map. */
export const clusterKey = { namespace, name: 'shop' };

type Buckets = ShardMap['spec']['groups'][number]['buckets'];

/** The cluster `shop` in an API in memory; servers without TLS stand for the primaries of its shards. */
export interface MemoryCluster {
  readonly api: MemoryApi;
  /** What controllers work with. */
  readonly dependencies: Omit<ShardMoveDependencies, 'sources'> & { readonly sources: Sources };
  /** What was told of so far. */
  readonly events: readonly EventInput[];
  /** Reasons of what was told of an object so far. */
  reasonsOf(name: string): readonly string[];
  bucketsOf(group: string): Buckets;
  start(controller: Controller): void;
  /** Ends what was started; the servers stay. */
  stop(): Promise<void>;
}

/** Makes it of what the shards have. */
export function memoryCluster(
  shards: MoveShards,
  spec: Partial<SpecInput>,
  status?: ShardedCluster['status'],
): MemoryCluster {
  const api = memoryApi();
  const base = { apiVersion: 'herdsman.dev/v1alpha1' };
  api.create(shardMapType, {
    ...base,
    kind: 'ShardMap',
    metadata: { ...clusterKey, labels: { 'herdsman.dev/cluster': clusterKey.name } },
    spec: { ...shards.map.current.value, cluster: clusterKey.name },
  });
  api.create(shardedClusterType, {
    ...base,
    kind: 'ShardedCluster',
    metadata: { ...clusterKey },
    spec: shardedClusterSpec.parse({
      storage: { size: '10Gi' },
      shards: { count: shards.servers.length },
      ...spec,
    }),
    ...(status === undefined ? {} : { status }),
  });
  const none = { [byCluster]: () => [] };
  const sources = {
    clusters: api.informer<ShardedCluster>(shardedClusterType, {}),
    maps: api.informer<ShardMapObject>(shardMapType, {}),
    replicaSets: api.informer(readReplicaSetType, none),
    claims: api.informer(persistentVolumeClaimType, none),
    pods: api.informer(podType, none),
    moves: api.informer<ShardMove>(shardMoveType, {
      [byCluster]: ({ spec: { cluster } }) => [clusterIndexValue(namespace, cluster)],
    }),
  } as unknown as Sources;
  const primaries = shards.servers.map(({ host, port, password }, index): [string, ConnectOptions] => [
    `s${index}`,
    { host, port, database: 'app', user: 'herdsman', password, tls: 'off' },
  ]);
  const connections = createConnections();
  const events: EventInput[] = [];
  const reasons: (readonly [name: string, reason: string])[] = [];
  const abort = new AbortController();
  const running: RunningController[] = [];
  return {
    api,
    events,
    dependencies: {
      client: api.client,
      sources,
      connections,
      events: {
        record({ metadata }, event) {
          events.push(event);
          reasons.push([metadata.name, event.reason]);
        },
        flush: async () => undefined,
      },
      clock: systemClock,
      findPrimaries: async () => new Map(primaries),
      addressOf: (_, shard) => {
        const server = shards.servers[Number(shard.slice(1))];
        return { host: server?.host ?? '', port: String(server?.port), dbname: 'app', sslmode: 'disable' };
      },
    },
    reasonsOf: (name) => reasons.flatMap(([about, reason]) => (about === name ? [reason] : [])),
    bucketsOf: (group) =>
      api.get<ShardMapObject>(shardMapType, clusterKey).spec.groups.find(({ name }) => name === group)
        ?.buckets ?? [],
    start: (controller) => void running.push(controller.start({ signal: abort.signal })),
    async stop() {
      await Promise.all(running.map((controller) => controller.stop(5_000)));
      abort.abort();
      await connections.close();
    },
  };
}
