import { type ShardMoveSpec, shardMoveSpec } from '../../src/api/v1alpha1/shard-move.ts';
import type { ShardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import { shardMoveController } from '../../src/resources/shard-move/controller.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { shardedClusterType, shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import { isConflict } from '../../src/runtime/api-error.ts';
import { clusterKey, type MemoryCluster, memoryCluster, namespace } from './memory-cluster.ts';
import { type MoveShards, startShards } from './move-world.ts';
import { waitFor } from './wait.ts';

type Status = NonNullable<ShardMove['status']>;

/** The controller of ShardMoves before two real servers, `s0` and `s1`, and an API in memory. */
export interface MoveController extends Pick<MemoryCluster, 'bucketsOf' | 'reasonsOf'> {
  readonly shards: MoveShards;
  /** Makes a ShardMove of the cluster; nothing is retained unless the spec says so. */
  ask(name: string, spec: object, annotations?: Readonly<Record<string, string>>): void;
  /** Lets a move go on that waits before a step. */
  release(name: string): Promise<void>;
  /** Changes what a ShardMove asks for. */
  change(name: string, spec: Partial<ShardMoveSpec>): void;
  /** Has the next status that says where the buckets of a move come from be lost on its way. */
  loseBeginning(name: string): void;
  delete(name: string): void;
  isThere(name: string): Promise<boolean>;
  /** Changes what the status remembers, as if that had come to pass: waiting for it would take long. */
  remember(name: string, status: Partial<Status>): Promise<void>;
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
  const cluster = memoryCluster(shards, { tables });
  const { api } = cluster;
  cluster.start(shardMoveController(cluster.dependencies));
  const controller: MoveController = {
    shards,
    bucketsOf: cluster.bucketsOf,
    reasonsOf: cluster.reasonsOf,
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
    loseBeginning(name) {
      const { client } = api;
      const { updateStatus } = client;
      client.updateStatus = async (type, object, options) => {
        const status = 'status' in object ? (object.status as Status | undefined) : undefined;
        if (object.metadata.name !== name || status?.from === undefined)
          return updateStatus(type, object, options);
        client.updateStatus = updateStatus;
        throw new Error('the connection was lost');
      };
    },
    delete: (name) => api.delete(shardMoveType, { namespace, name }),
    isThere: async (name) => (await api.client.get(shardMoveType, { namespace, name })) !== undefined,
    async remember(name, status) {
      const move = api.get<ShardMove>(shardMoveType, { namespace, name });
      try {
        await api.client.updateStatus(shardMoveType, { ...move, status: { ...move.status, ...status } });
      } catch (error) {
        if (!isConflict(error)) throw error;
        await controller.remember(name, status);
      }
    },
    holdBack: api.holdBack,
    changeCluster: (spec) => api.change(shardedClusterType, clusterKey, spec),
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
      await cluster.stop();
      await shards.stop();
    },
  };
  return controller;
}
