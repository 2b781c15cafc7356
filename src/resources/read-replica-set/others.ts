import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { modelPart } from './logical/names.ts';
import type { ReadReplicaSet } from './model.ts';
import { replicasName } from './names.ts';
import type { ReplicaSources } from './sources.ts';

/** What is looked through for other sets and their members. */
export interface OtherSets {
  readonly sources: Pick<Sources, 'replicaSets'>;
  readonly replicas: Pick<ReplicaSources, 'statefulSets'>;
}

/** Members of other sets that take a WAL sender and a slot of the primary of a shard; those of read models do in every shard. */
export function membersOfOthers(
  { sources, replicas }: OtherSets,
  { metadata: { namespace, name }, spec }: ReadReplicaSet,
  shard: string,
  standbyIsThere: boolean,
): number {
  return sources.replicaSets.cache
    .byIndex(byCluster, clusterIndexValue(namespace, spec.cluster))
    .filter((other) => other.metadata.name !== name)
    .reduce((sum, { metadata, spec: other }) => {
      const part = other.mode === 'logical' ? modelPart : shard;
      const key = { namespace, name: replicasName(metadata.name, part) };
      const members = replicas.statefulSets.cache.get(key)?.spec?.replicas ?? 0;
      if (other.source === 'cascade') return sum + Math.min(1, members);
      return other.source === 'standby' && standbyIsThere ? sum : sum + members;
    }, 0);
}
