import type { PersistentVolumeClaim } from '../../sharded-cluster/kubernetes.ts';
import { claimTemplate, clusterLabel } from '../../sharded-cluster/names.ts';
import type { ObservedReplicaShard, SetInput } from '../model.ts';
import { replicaPod } from '../names.ts';
import type { Capacity } from './capacity.ts';

/** Clocks of nodes and of the API server may differ, and a volume is made soon after the data that it is to hold. */
const skewMs = 600_000;

/**
 * How many members a shard has room for before one would find a volume with other data: of another cluster, since a set of the
 * same name was there for that one, or of the cluster as it was before it was made anew without its volumes. No server can go on
 * from there, and nobody says here that it may be thrown away.
 */
export function roomAmongClaims(
  { set, observed: { replicas } }: Pick<SetInput, 'set' | 'observed'>,
  { name: shard, claims, primary }: Pick<ObservedReplicaShard, 'name' | 'claims' | 'primary'>,
): Capacity {
  const dataSinceMs = primary.state === 'present' ? primary.value.initializedMs : 0;
  for (let ordinal = 0; ordinal < replicas; ordinal += 1) {
    const name = `${claimTemplate}-${replicaPod(set.metadata.name, shard, ordinal)}`;
    const claim = claims.find(({ metadata }) => metadata.name === name);
    const other = claim === undefined ? undefined : otherData(claim, set.spec.cluster, dataSinceMs);
    if (other === undefined) continue;
    const message = `claim ${name} holds ${other}: delete the claim if nobody needs that, or give this set another name`;
    return { most: ordinal, problem: { reason: 'VolumeOfOtherData', message } };
  }
  return { most: Number.POSITIVE_INFINITY, problem: undefined };
}

/** What a volume holds that is not a copy of the shard. */
function otherData(
  { metadata }: PersistentVolumeClaim,
  cluster: string,
  dataSinceMs: number,
): string | undefined {
  const former = metadata.labels?.[clusterLabel] ?? cluster;
  if (former !== cluster) return `data of ShardedCluster "${former}", of a former set of this name`;
  const madeMs = Date.parse(metadata.creationTimestamp ?? '');
  return madeMs < dataSinceMs - skewMs
    ? `data from before ShardedCluster "${cluster}" was made anew, at ${new Date(dataSinceMs).toISOString()}`
    : undefined;
}
