import { durationMs } from '../../api/v1alpha1/duration.ts';
import { controllerReference, type KubernetesObject } from '../../runtime/kubernetes-object.ts';
import type { Move } from '../../sharding/rebalance/model.ts';
import type { ShardMove } from '../shard-move/model.ts';
import { shardMoveType } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { clusterLabel, managedByLabel } from '../sharded-cluster/names.ts';
import type { MoveFacts } from './model.ts';
import type { NewMove } from './plan.ts';

/** Smaller buckets tell the time of the steps around a copy, not its rate. */
const tellingBytes = 8 * 1024 ** 2;

/** What a plan needs to know of a ShardMove, and of the window that it waits for. */
export function moveFacts({ metadata, spec, status }: ShardMove, closedWindow?: string): MoveFacts {
  const { phase, from = spec.from, finishedAt, bytes } = status ?? {};
  const ids = status?.parents?.map(({ id }) => id) ?? spec.buckets;
  const buckets = ids.map((id): Move => {
    return { group: spec.group, id, from: from ?? '', to: spec.to };
  });
  const isReshape = spec.operation !== undefined && spec.operation !== 'move';
  const facts = {
    name: metadata.name,
    group: spec.group,
    buckets,
    isRunning: false,
    ...(isReshape ? { isReshape } : {}),
    ...(spec.operation === 'merge' ? { isMerge: true } : {}),
    ...(spec.tenant === undefined ? {} : { tenant: spec.tenant }),
  };
  const endedMs = Date.parse(finishedAt ?? metadata.creationTimestamp ?? '');
  switch (phase) {
    case 'retain':
    case 'done': {
      const isOurs = metadata.labels?.[managedByLabel] === 'herdsman';
      const isRetained = isOurs && phase === 'retain' && durationMs(spec.retention) !== 0;
      const tookMs = endedMs - Date.parse(status?.phases?.[0]?.startedAt ?? '');
      const moved = {
        ...facts,
        movedAtMs: endedMs,
        ...(Number.isNaN(tookMs) ? {} : { tookMs }),
        ...(isRetained ? { isRetained } : {}),
      };
      const seconds = secondsOf(status);
      if (bytes === undefined || bytes < tellingBytes || seconds === undefined) return moved;
      return { ...moved, bytesPerSecond: bytes / Math.max(1, seconds) };
    }
    case 'failed': {
      const failure = status?.lastEnding?.message ?? status?.message;
      return { ...facts, failedAtMs: endedMs, ...(failure === undefined ? {} : { failure }) };
    }
    case 'cancelled':
      return { ...facts, failedAtMs: endedMs, isCancelled: true };
    default:
      return { ...facts, isRunning: true, ...(closedWindow === undefined ? {} : { closedWindow }) };
  }
}

/** The ShardMove that carries out a planned move. It goes with the cluster, as a record of what was done to it. */
export function shardMoveFor(
  cluster: ShardedCluster,
  { name, group, id, from, to, reason, operation, tenant }: NewMove,
): KubernetesObject {
  return {
    apiVersion: `${shardMoveType.group}/${shardMoveType.version}`,
    kind: shardMoveType.kind,
    metadata: {
      name,
      namespace: cluster.metadata.namespace,
      labels: { [managedByLabel]: 'herdsman', [clusterLabel]: cluster.metadata.name },
      annotations: { [reasonAnnotation]: reason },
      ownerReferences: [controllerReference(cluster)],
    },
    spec: {
      cluster: cluster.metadata.name,
      group,
      ...(operation === undefined ? {} : { operation }),
      ...(tenant === undefined ? { buckets: [id] } : { tenant }),
      from,
      to,
      // What a shard that goes has left must not keep it; its volumes stay.
      ...(reason === 'drain' ? { retention: '0s' } : {}),
    },
  };
}

/** Annotation of a ShardMove that the rebalancer wrote: why. */
const reasonAnnotation = 'herdsman.dev/reason';

/** Time from the beginning of the copy to the end of the move: of one that was tried several times, of the last try. */
function secondsOf(status: ShardMove['status']): number | undefined {
  const began = status?.phases?.findLast(({ name }) => name === 'copy')?.startedAt;
  if (began === undefined || status?.finishedAt === undefined) return undefined;
  return (Date.parse(status.finishedAt) - Date.parse(began)) / 1_000;
}
