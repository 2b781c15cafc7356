import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { modelPart } from './logical/names.ts';
import type { ReadReplicaSet, TakenByOthers } from './model.ts';
import { replicasName } from './names.ts';
import type { ReplicaSources } from './sources.ts';

/** What is looked through for other sets and their members. */
export interface OtherSets {
  readonly sources: Pick<Sources, 'replicaSets'>;
  readonly replicas: Pick<ReplicaSources, 'statefulSets'>;
}

/**
 * What members of other sets take of the primary of a shard; those of read models do in every shard. Patroni makes a slot for each
 * member on every server that may be promoted, whatever it streams from (`member_slots_ttl`).
 */
export function takenByOthers(
  { sources, replicas }: OtherSets,
  { metadata: { namespace, name }, spec }: ReadReplicaSet,
  shard: string,
  standbyIsThere: boolean,
): TakenByOthers {
  const others = sources.replicaSets.cache
    .byIndex(byCluster, clusterIndexValue(namespace, spec.cluster))
    .filter((other) => other.metadata.name !== name)
    .map(({ metadata, spec: other }): TakenByOthers => {
      const part = other.mode === 'logical' ? modelPart : shard;
      const key = { namespace, name: replicasName(metadata.name, part) };
      const members = replicas.statefulSets.cache.get(key)?.spec?.replicas ?? 0;
      if (other.source === 'cascade') return { senders: Math.min(1, members), slots: members };
      return { senders: other.source === 'standby' && standbyIsThere ? 0 : members, slots: members };
    });
  return {
    senders: others.reduce((sum, { senders }) => sum + senders, 0),
    slots: others.reduce((sum, { slots }) => sum + slots, 0),
  };
}
