import { load } from 'js-yaml';
import { isDeleting, type KubernetesObject, keyString } from '../../runtime/kubernetes-object.ts';
import type { Service } from '../sharded-cluster/desired/services.ts';
import { isPodReady, type Pod, type StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { claimTemplate, shardLabel } from '../sharded-cluster/names.ts';
import { isOutdated, isSettled } from '../sharded-cluster/observe-members.ts';
import { objectId } from '../sharded-cluster/steps/objects.ts';
import { leadsToPrimary } from './desired/services.ts';
import { workOf } from './member-work.ts';
import type { SetMemory } from './memory.ts';
import type { ObservedReplica, ObservedReplicaShard, ReadReplicaSet } from './model.ts';
import {
  type Rotation,
  readService,
  replicaOrdinal,
  replicaPod,
  replicasConfigMap,
  replicasName,
  rotationLabel,
} from './names.ts';
import { readableNames } from './readable-shards.ts';
import { bySet, type ReplicaSources } from './sources.ts';

/** What the caches show of a member, before anybody is asked over the network. */
type CachedReplica = Omit<
  ObservedReplica,
  'streamsFrom' | 'stats' | 'lag' | 'pendingRestart' | 'isLost' | 'hasStaleCertificate'
>;
/** What they show of a set in one shard. */
export type CachedShard = Pick<
  ObservedReplicaShard,
  'name' | 'isWanted' | 'statefulSet' | 'settled' | 'claims' | 'upstream' | 'byPrimary'
> & { readonly members: readonly CachedReplica[] };

/** Objects of a set that are there, by `objectId`. */
export function objectsOf(
  set: ReadReplicaSet,
  replicas: ReplicaSources,
): ReadonlyMap<string, KubernetesObject> {
  const informers = [...replicas.plain, replicas.statefulSets];
  const objects = informers.flatMap((informer): readonly KubernetesObject[] =>
    informer.cache.byIndex(bySet, keyString(set.metadata)),
  );
  return new Map(objects.map((object) => [objectId(object), object]));
}

/**
 * The shards that a set shall be in, and of them those that its cluster has told of. A cluster that was deleted and has come back
 * tells of none at first: members that are there stay, and new ones come when it does.
 */
export function placesOf(
  { spec }: Pick<ReadReplicaSet, 'spec'>,
  cluster: Pick<ShardedCluster, 'spec' | 'status'>,
): { readonly wanted: readonly string[]; readonly told: readonly string[] } {
  const items = cluster.status?.shards?.items ?? [];
  const wanted = readableNames(cluster).filter((name) => spec.shards?.includes(name) ?? true);
  return { wanted, told: wanted.filter((name) => items.some((item) => item.name === name)) };
}

/** The shards that a set shall be in and those that it is in, in order of their index. */
export function cachedShards(
  set: ReadReplicaSet,
  cluster: ShardedCluster | undefined,
  replicas: ReplicaSources,
  objects: ReadonlyMap<string, KubernetesObject>,
  memory: SetMemory,
  nowMs: number,
): CachedShard[] {
  const { name: setName } = set.metadata;
  const key = keyString(set.metadata);
  const statefulSets = replicas.statefulSets.cache.byIndex(bySet, key);
  const pods = replicas.pods.cache.byIndex(bySet, key);
  const claims = replicas.claims.cache.byIndex(bySet, key);
  const places = cluster === undefined ? undefined : placesOf(set, cluster);
  const present = [...objects.values()].flatMap(({ metadata }) => metadata.labels?.[shardLabel] ?? []);
  const uids = new Set(pods.map(({ metadata }) => metadata.uid ?? ''));
  for (const known of [memory.rotations, memory.positions, memory.silent, memory.work])
    for (const uid of known.keys()) if (!uids.has(uid)) known.delete(uid);
  return [...new Set([...(places?.told ?? []), ...present])]
    .sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)))
    .map((name) => {
      const statefulSet = statefulSets.find(({ metadata }) => metadata.name === replicasName(setName, name));
      const ofShard = claims.filter(({ metadata }) => metadata.labels?.[shardLabel] === name);
      const doomed = new Set(ofShard.filter(isDeleting).map(({ metadata }) => metadata.name));
      return {
        name,
        isWanted: places === undefined || places.wanted.includes(name),
        statefulSet,
        settled: isSettled(statefulSet),
        claims: ofShard,
        upstream: upstreamOf(objects.get(`ConfigMap/${replicasConfigMap(setName, name)}`)),
        byPrimary: leadsToPrimary(
          objects.get(`Service/${readService(setName, name)}`) as Service | undefined,
        ),
        members: membersOf(set, name, statefulSet, pods, doomed, memory, nowMs),
      };
    });
}

/** The member that the configuration, as it was applied last, says to follow. */
function upstreamOf(configMap: KubernetesObject | undefined): string | undefined {
  const { data } = (configMap ?? {}) as { readonly data?: Readonly<Record<string, string>> };
  try {
    const settings = load(data?.['patroni.yml'] ?? '') as
      | { readonly tags?: { readonly replicatefrom?: string } }
      | null
      | undefined;
    return settings?.tags?.replicatefrom;
  } catch {
    // Somebody has written there what is no YAML, and no pass may fail by that.
    return undefined;
  }
}

function membersOf(
  set: ReadReplicaSet,
  shard: string,
  statefulSet: StatefulSet | undefined,
  pods: readonly Pod[],
  doomedClaims: ReadonlySet<string>,
  memory: SetMemory,
  nowMs: number,
): CachedReplica[] {
  const { name: setName } = set.metadata;
  const byOrdinal = new Map<number, Pod>();
  for (const pod of pods) {
    const ordinal = replicaOrdinal(setName, shard, pod.metadata.name);
    if (ordinal !== undefined) byOrdinal.set(ordinal, pod);
  }
  const ordinals = new Set(byOrdinal.keys());
  for (let ordinal = 0; ordinal < (statefulSet?.spec?.replicas ?? 0); ordinal += 1) ordinals.add(ordinal);
  return [...ordinals]
    .sort((a, b) => a - b)
    .map((ordinal) => {
      const pod = byOrdinal.get(ordinal);
      const name = replicaPod(setName, shard, ordinal);
      const rotation = pod?.metadata.labels?.[rotationLabel] as Rotation | undefined;
      return {
        name,
        ordinal,
        pod,
        ready: pod !== undefined && isPodReady(pod),
        outdated: isOutdated(pod, statefulSet),
        losesVolume: doomedClaims.has(`${claimTemplate}-${name}`),
        rotation,
        ...since(pod, rotation, memory, nowMs),
        work: workOf(memory.work, pod?.metadata.uid ?? '', nowMs),
      };
    });
}

/** For how long a member has been draining, or out, as far as this operator has seen it. */
function since(
  pod: Pod | undefined,
  rotation: Rotation | undefined,
  memory: SetMemory,
  nowMs: number,
): Pick<CachedReplica, 'drainingMs' | 'outMs'> {
  const uid = pod?.metadata.uid;
  if (uid === undefined || rotation === undefined) return { drainingMs: 0, outMs: 0 };
  const known = memory.rotations.get(uid);
  const sinceMs = known?.rotation === rotation ? known.sinceMs : nowMs;
  memory.rotations.set(uid, { rotation, sinceMs });
  const ms = nowMs - sinceMs;
  return { drainingMs: rotation === 'draining' ? ms : 0, outMs: rotation === 'out' ? ms : 0 };
}
