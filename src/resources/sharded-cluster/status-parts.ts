import type { ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';

/** Field manager of what the rebalancer writes into a ShardedCluster's status. */
export const rebalanceManager = 'herdsman-rebalance';

const fields: ReadonlySet<string> = new Set(['rebalance', 'load', 'autoscaling']);
const conditionTypes: ReadonlySet<string> = new Set(['Balanced', 'Hot']);

/** The part of a status that the rebalancer writes: two controllers share one status, each with fields of its own. */
export function rebalancePart(status: ShardedClusterStatus | undefined): ShardedClusterStatus {
  return part(status, true);
}

/** The rest, which the ShardedCluster's own controller writes. */
export function clusterPart(status: ShardedClusterStatus): ShardedClusterStatus {
  return part(status, false);
}

function part(status: ShardedClusterStatus | undefined, ours: boolean): ShardedClusterStatus {
  const entries = Object.entries(status ?? {}).filter(
    ([name]) => name !== 'conditions' && fields.has(name) === ours,
  );
  const conditions = (status?.conditions ?? []).filter(({ type }) => conditionTypes.has(type) === ours);
  return {
    ...Object.fromEntries(entries),
    ...(conditions.length === 0 ? {} : { conditions }),
  };
}
