import type { ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';

/** Field manager of what the rebalancer writes into a ShardedCluster's status. */
export const rebalanceManager = 'herdsman-rebalance';

/** Field manager of what the conversions' controller writes there. */
export const conversionManager = 'herdsman-conversion';

/** Field manager of what the controller of imports writes there. */
export const importManager = 'herdsman-import';

type Writer = 'rebalance' | 'conversion' | 'import' | 'cluster';

const fields: Readonly<Record<string, Writer>> = {
  rebalance: 'rebalance',
  load: 'rebalance',
  autoscaling: 'rebalance',
  conversions: 'conversion',
  import: 'import',
};
const conditionTypes: Readonly<Record<string, Writer>> = {
  Balanced: 'rebalance',
  Hot: 'rebalance',
  Converted: 'conversion',
  Imported: 'import',
};

/** The part of a status that the rebalancer writes: controllers share one status, each with fields of its own. */
export function rebalancePart(status: ShardedClusterStatus | undefined): ShardedClusterStatus {
  return part(status, 'rebalance');
}

/** The part that the conversions' controller writes. */
export function conversionPart(status: ShardedClusterStatus | undefined): ShardedClusterStatus {
  return part(status, 'conversion');
}

/** The part that the controller of imports writes. */
export function importPart(status: ShardedClusterStatus | undefined): ShardedClusterStatus {
  return part(status, 'import');
}

/** The rest, which the ShardedCluster's own controller writes. */
export function clusterPart(status: ShardedClusterStatus): ShardedClusterStatus {
  return part(status, 'cluster');
}

function part(status: ShardedClusterStatus | undefined, writer: Writer): ShardedClusterStatus {
  const entries = Object.entries(status ?? {}).filter(
    ([name]) => name !== 'conditions' && (fields[name] ?? 'cluster') === writer,
  );
  const conditions = (status?.conditions ?? []).filter(
    ({ type }) => (conditionTypes[type] ?? 'cluster') === writer,
  );
  return {
    ...Object.fromEntries(entries),
    ...(conditions.length === 0 ? {} : { conditions }),
  };
}
