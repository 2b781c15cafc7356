import { claimTemplate, clusterLabel } from '../../sharded-cluster/names.ts';
import type { ObservedReplicaShard, SetInput } from '../model.ts';
import { replicaPod } from '../names.ts';
import type { Capacity } from './capacity.ts';

/**
 * How many members a shard has room for before one would find a volume of another cluster: a set of the same name was there for
 * that one, and its volumes were kept. No server can go on with such data, and nobody says here that it may be thrown away.
 */
export function roomAmongClaims(
  { set, observed: { replicas } }: Pick<SetInput, 'set' | 'observed'>,
  shard: Pick<ObservedReplicaShard, 'name' | 'claims'>,
): Capacity {
  for (let ordinal = 0; ordinal < replicas; ordinal += 1) {
    const name = `${claimTemplate}-${replicaPod(set.metadata.name, shard.name, ordinal)}`;
    const claim = shard.claims.find(({ metadata }) => metadata.name === name);
    const cluster = claim?.metadata.labels?.[clusterLabel];
    if (cluster === undefined || cluster === set.spec.cluster) continue;
    const message =
      `claim ${name} is of a former set of this name, and holds data of ShardedCluster "${cluster}": ` +
      'delete the claim if nobody needs that, or give this set another name';
    return { most: ordinal, problem: { reason: 'VolumeOfAnotherCluster', message } };
  }
  return { most: Number.POSITIVE_INFINITY, problem: undefined };
}
