import type { Cache } from '../../runtime/cache.ts';
import { isDeleting } from '../../runtime/kubernetes-object.ts';
import { ownerCounts } from '../../sharding/map.ts';
import { isPodReady, type PersistentVolumeClaim, type Pod, type StatefulSet } from './kubernetes.ts';
import type { ObservedMember, ShardedCluster, ShardMapObject } from './model.ts';
import {
  claimName,
  podName,
  podOrdinal,
  scope,
  shardIndex,
  shardLabel,
  shardMapName,
  shardName,
} from './names.ts';
import { byCluster, clusterIndexValue } from './sources.ts';
import { wantedNames } from './wanted-shards.ts';

/** What the caches show of one shard, before anybody is asked over the network. */
export interface CachedShard {
  readonly name: string;
  readonly index: number;
  readonly statefulSet: StatefulSet | undefined;
  readonly settled: boolean;
  readonly members: readonly ObservedMember[];
  readonly claims: readonly PersistentVolumeClaim[];
}

/** The caches that show shards. */
export interface ShardSources {
  readonly statefulSets: { readonly cache: Pick<Cache<StatefulSet>, 'byIndex'> };
  readonly pods: { readonly cache: Pick<Cache<Pod>, 'byIndex'> };
  readonly claims: { readonly cache: Pick<Cache<PersistentVolumeClaim>, 'byIndex'> };
  readonly maps: { readonly cache: Pick<Cache<ShardMapObject>, 'get'> };
}

/** The shards that are wanted, those that are there and those that own buckets, in order of their index. */
export function cachedShards(
  cluster: ShardedCluster,
  sources: ShardSources,
  zoneOf: (node: string) => string | undefined,
): CachedShard[] {
  const { name, namespace } = cluster.metadata;
  const value = clusterIndexValue(namespace, name);
  const statefulSets = sources.statefulSets.cache.byIndex(byCluster, value);
  const pods = sources.pods.cache.byIndex(byCluster, value);
  const claims = sources.claims.cache.byIndex(byCluster, value);
  const indexes = new Set(wantedNames(cluster).flatMap((wanted) => shardIndex(wanted) ?? []));
  for (const statefulSet of statefulSets) {
    const index = shardIndex(statefulSet.metadata.labels?.[shardLabel] ?? '');
    if (index !== undefined && statefulSet.metadata.name === scope(name, shardName(index)))
      indexes.add(index);
  }
  // A shard that owns buckets is needed however few are wanted, and also when somebody deleted its StatefulSet.
  const map = sources.maps.cache.get({ namespace, name: shardMapName(name) });
  for (const owner of map === undefined ? [] : ownerCounts(map.spec).keys()) {
    const index = shardIndex(owner);
    if (index !== undefined) indexes.add(index);
  }
  return [...indexes]
    .sort((a, b) => a - b)
    .map((index) => {
      const shard = shardName(index);
      const ofShard = <T extends { metadata: { labels?: Record<string, string> } }>(object: T): boolean =>
        object.metadata.labels?.[shardLabel] === shard;
      const ofThisShard = claims.filter(ofShard);
      const doomed = new Set(ofThisShard.filter(isDeleting).map((claim) => claim.metadata.name));
      const statefulSet = statefulSets.find((object) => object.metadata.name === scope(name, shard));
      return {
        name: shard,
        index,
        statefulSet,
        settled: isSettled(statefulSet),
        members: membersOf(cluster, shard, statefulSet, pods.filter(ofShard), doomed, zoneOf),
        claims: ofThisShard,
      };
    });
}

/** Whether the StatefulSet controller has acted on the object as it is now. */
export function isSettled(statefulSet: StatefulSet | undefined): boolean {
  if (statefulSet === undefined || statefulSet.metadata.deletionTimestamp !== undefined) return false;
  return (
    statefulSet.status?.observedGeneration === statefulSet.metadata.generation &&
    statefulSet.status?.updateRevision !== undefined
  );
}

function membersOf(
  cluster: ShardedCluster,
  shard: string,
  statefulSet: StatefulSet | undefined,
  pods: readonly Pod[],
  doomedClaims: ReadonlySet<string>,
  zoneOf: (node: string) => string | undefined,
): ObservedMember[] {
  const byOrdinal = new Map<number, Pod>();
  for (const pod of pods) {
    const ordinal = podOrdinal(cluster.metadata.name, shard, pod.metadata.name);
    if (ordinal !== undefined) byOrdinal.set(ordinal, pod);
  }
  const ordinals = new Set(byOrdinal.keys());
  for (let ordinal = 0; ordinal < (statefulSet?.spec?.replicas ?? 0); ordinal += 1) ordinals.add(ordinal);
  return [...ordinals]
    .sort((a, b) => a - b)
    .map((ordinal) => {
      const pod = byOrdinal.get(ordinal);
      const node = pod?.spec?.nodeName;
      return {
        name: podName(cluster.metadata.name, shard, ordinal),
        ordinal,
        pod,
        ready: pod !== undefined && isPodReady(pod),
        outdated: isOutdated(pod, statefulSet),
        losesVolume: doomedClaims.has(claimName(cluster.metadata.name, shard, ordinal)),
        zone: node === undefined ? undefined : zoneOf(node),
      };
    });
}

/** Whether a pod is from an older template: judged on the StatefulSet's revisions, never on the live pod, which webhooks may have changed. */
export function isOutdated(pod: Pod | undefined, statefulSet: StatefulSet | undefined): boolean {
  const revision = pod?.metadata.labels?.['controller-revision-hash'];
  const wanted = statefulSet?.status?.updateRevision;
  return revision !== undefined && wanted !== undefined && isSettled(statefulSet) && revision !== wanted;
}
