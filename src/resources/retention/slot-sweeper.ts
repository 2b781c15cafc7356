import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { dropMemberSlot, readMemberSlots } from '../../postgres/member-slots.ts';
import type { Clock } from '../../runtime/clock.ts';
import {
  type Controller,
  defineController,
  type ReconcileContext,
  type ReconcileResult,
} from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { keyString, type ObjectKey } from '../../runtime/kubernetes-object.ts';
import { podType, statefulSetType } from '../../runtime/kubernetes-types.ts';
import { labelled } from '../../runtime/watches.ts';
import type { ReplicaSources } from '../read-replica-set/sources.ts';
import type { StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { clusterLabel } from '../sharded-cluster/names.ts';
import type { FindPrimaries } from '../sharded-cluster/primaries.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { memberOfSlot, type SlotMember } from './slots.ts';

/** What the sweeper works with. */
export interface SlotSweeperDependencies {
  readonly client: Pick<KubeClient, 'get'>;
  readonly sources: Pick<Sources, 'clusters' | 'pods'>;
  readonly replicas: Pick<ReplicaSources, 'pods'>;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly findPrimaries: FindPrimaries;
  readonly clock: Clock;
  /** How long a slot must have been without a member; 10 s by default. */
  readonly patienceMs?: number;
}

/**
 * Drops the replication slot of a member that was taken away: by itself Patroni keeps it for half an hour, in case that the
 * member comes back, and with it the WAL. Looks when a pod of a cluster or of its read replica sets has gone.
 */
export function slotSweeper(dependencies: SlotSweeperDependencies): Controller {
  const { client, sources, replicas, connections, events, findPrimaries, clock } = dependencies;
  const { patienceMs = 10_000 } = dependencies;
  /** By cluster, and by shard and slot: since when it has been without a member. */
  const idle = new Map<string, Map<string, number>>();

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const found = sources.clusters.cache.get(key);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) {
      idle.delete(keyString(key));
      return undefined;
    }
    const cluster: ShardedCluster = { ...found, spec: shardedClusterSpec.parse(found.spec) };
    if (cluster.spec.suspend) return undefined;
    const before = idle.get(keyString(key)) ?? new Map<string, number>();
    const now = new Map<string, number>();
    idle.set(keyString(key), now);
    const primaries = await findPrimaries(cluster, context.signal);
    for (const [shard, options] of primaries) {
      for (const { slot, member } of await abandoned(cluster, shard, options, context.signal)) {
        const since = before.get(`${shard}/${slot}`) ?? clock.monotonicMs();
        if (clock.monotonicMs() - since >= patienceMs) await drop(cluster, shard, options, slot, member);
        now.set(`${shard}/${slot}`, since);
      }
    }
    // Looked at once more after it was dropped: a failover brings it back.
    const isWhole = primaries.size >= (cluster.status?.shards?.items.length ?? 0);
    return now.size > 0 || !isWhole ? { requeueAfterMs: patienceMs } : undefined;
  }

  async function abandoned(
    cluster: ShardedCluster,
    shard: string,
    options: ConnectOptions,
    signal: AbortSignal,
  ): Promise<{ readonly slot: string; readonly member: SlotMember }[]> {
    const slots = await connections.use(options, readMemberSlots);
    const found: { slot: string; member: SlotMember }[] = [];
    for (const { name: slot, active } of slots) {
      const member = memberOfSlot(slot, cluster.metadata.name, shard);
      if (active || member === undefined) continue;
      if (await isGone(cluster.metadata.namespace, member, signal)) found.push({ slot, member });
    }
    return found;
  }

  /** As the API server itself says; when it does not, the error ends the look. */
  async function isGone(
    namespace: string,
    { pod, statefulSet, ordinal }: SlotMember,
    signal: AbortSignal,
  ): Promise<boolean> {
    if ((await client.get(podType, { namespace, name: pod }, { signal })) !== undefined) return false;
    const key = { namespace, name: statefulSet };
    const wanted = await client.get<StatefulSet>(statefulSetType, key, { signal });
    return ordinal >= (wanted?.spec?.replicas ?? 0);
  }

  async function drop(
    cluster: ShardedCluster,
    shard: string,
    options: ConnectOptions,
    slot: string,
    { pod }: SlotMember,
  ): Promise<void> {
    const wasThere = await connections.use(options, (connection) => dropMemberSlot(connection, slot));
    if (!wasThere) return;
    const note = `replication slot ${slot} was dropped on shard ${shard}: member ${pod} was taken away`;
    events.record(cluster, { type: 'Normal', reason: 'SlotDropped', action: 'Sweep', note });
  }

  const left = ({ current }: { readonly current: unknown }) => current === undefined;
  return defineController<ShardedCluster>({
    name: 'slotsweeper',
    source: sources.clusters,
    sourceWhen: ({ old }) => old === undefined,
    watches: [labelled(sources.pods, clusterLabel, left), labelled(replicas.pods, clusterLabel, left)],
    concurrency: 2,
    reconcile,
  });
}
