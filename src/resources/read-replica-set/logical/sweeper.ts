import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import type { Connections } from '../../../postgres/connections.ts';
import { PostgresError } from '../../../postgres/postgres-error.ts';
import { parseName } from '../../../postgres/read-model/names.ts';
import { readSource, withdraw } from '../../../postgres/read-model/publisher.ts';
import {
  type Controller,
  defineController,
  type ReconcileContext,
  type ReconcileResult,
} from '../../../runtime/controller.ts';
import type { EventRecorder } from '../../../runtime/events.ts';
import type { KubeClient } from '../../../runtime/kube-client.ts';
import type { ObjectKey } from '../../../runtime/kubernetes-object.ts';
import { changed, mapped } from '../../../runtime/watches.ts';
import { readReplicaSetType } from '../../sharded-cluster/kinds.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import type { FindPrimaries } from '../../sharded-cluster/primaries.ts';
import type { Sources } from '../../sharded-cluster/sources.ts';
import type { ReadReplicaSet } from '../model.ts';

/** What the sweeper works with. */
export interface ModelSweeperDependencies {
  readonly client: KubeClient;
  readonly sources: Pick<Sources, 'clusters' | 'replicaSets'>;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly findPrimaries: FindPrimaries;
}

/** Shards are looked through so often when nothing happens. */
const everyMs = 600_000;
/** A set that goes is looked for again until its pods have let go of their slots. */
const soonMs = 3_000;

/**
 * Drops what sets that are gone have left on shards: a slot would keep WAL for nobody. No finalizer does this, so that a set, its
 * cluster and their namespace can be deleted in any order.
 */
export function modelSweeper(dependencies: ModelSweeperDependencies): Controller {
  const { client, sources, connections, events, findPrimaries } = dependencies;

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const found = sources.clusters.cache.get(key);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) return undefined;
    const cluster: ShardedCluster = { ...found, spec: shardedClusterSpec.parse(found.spec) };
    if (cluster.spec.suspend) return undefined;
    const primaries = await findPrimaries(cluster, context.signal);
    let isDone = true;
    for (const [shard, options] of primaries) {
      const names = await connections.use(options, async (connection) => {
        try {
          const { publications, slots } = await readSource(connection, []);
          return [...publications, ...slots.map(({ name }) => name)];
        } catch (error) {
          // A shard that has not been set up yet publishes nothing.
          if (error instanceof PostgresError && error.sqlstate.startsWith('42')) return [];
          throw error;
        }
      });
      const owners = new Set(names.flatMap((name) => parseName(name)?.set ?? []));
      for (const set of owners) {
        if (!(await isGone(cluster, set, context))) continue;
        isDone = false;
        const dropped = await connections.use(options, (connection) =>
          withdraw(connection, (name) => parseName(name)?.set === set),
        );
        const note = `${dropped.join(', ')} of ReadReplicaSet "${set}", which is gone, dropped on shard ${shard}`;
        events.record(cluster, { type: 'Normal', reason: 'ReadModelSwept', action: 'Sweep', note });
      }
    }
    return { requeueAfterMs: isDone ? everyMs : soonMs };
  }

  /** As the API server itself says: silence is not absence. */
  async function isGone(
    { metadata }: ShardedCluster,
    name: string,
    { signal }: ReconcileContext,
  ): Promise<boolean> {
    const key = { namespace: metadata.namespace, name };
    const set = await client.get<ReadReplicaSet>(readReplicaSetType, key, { signal });
    return set === undefined || set.spec.mode !== 'logical' || set.spec.cluster !== metadata.name;
  }

  return defineController<ShardedCluster>({
    name: 'readmodelsweeper',
    source: sources.clusters,
    watches: [
      mapped(
        sources.replicaSets,
        ({ metadata, spec }) =>
          spec.mode === 'logical' ? [{ namespace: metadata.namespace, name: spec.cluster }] : [],
        changed('deletion'),
      ),
    ],
    concurrency: 1,
    reconcile,
  });
}
