import type { KubeClient } from '../../runtime/kube-client.ts';
import { configMapType } from '../../runtime/kubernetes-types.ts';
import type { Reading } from '../../runtime/reading.ts';
import { ownerCounts } from '../../sharding/map.ts';
import type { ClusterMemory } from './cluster-memory.ts';
import type { GroupFacts, ShardedCluster, ShardMapObject } from './model.ts';
import { initializeAnnotation, patroniState } from './names.ts';
import type { CachedShard } from './observe-members.ts';

/** A claim is abandoned when for so long no member has said that it initialises the shard. */
const abandonedMs = 20_000;

/** How the claim of a shard is looked at. */
export interface ClaimInquiry {
  readonly client: Pick<KubeClient, 'read'>;
  readonly memory: Pick<ClusterMemory, 'claims'>;
  readonly nowMs: number;
  readonly signal: AbortSignal;
}

/**
 * The claim of who initialised a shard and is gone. A member that is at it says so at every beat; one that was killed meanwhile leaves
 * an empty claim. One with a name is of data that are gone, when all volumes are younger: of a shard of this name that was here before.
 * Who owns buckets had rows.
 */
export async function findAbandonedClaim(
  { client, memory, nowMs, signal }: ClaimInquiry,
  { metadata }: ShardedCluster,
  shard: CachedShard,
  group: Reading<GroupFacts>,
  map: ShardMapObject | undefined,
): Promise<string | undefined> {
  const isQuiet =
    group.state === 'present' &&
    group.value.leader === undefined &&
    group.value.members.size > 0 &&
    [...group.value.members.values()].every((member) => member.state === 'stopped');
  if (!isQuiet) {
    memory.claims.delete(shard.name);
    return undefined;
  }
  const since = memory.claims.get(shard.name) ?? nowMs;
  memory.claims.set(shard.name, since);
  if (nowMs - since < abandonedMs) return undefined;
  const key = { namespace: metadata.namespace, name: patroniState(metadata.name, shard.name, 'config') };
  const state = await client.read(configMapType, key, { signal, timeoutMs: 5_000 });
  if (state.state !== 'present') return undefined;
  const { annotations, creationTimestamp: madeAt = '' } = state.value.metadata;
  const claim = annotations?.[initializeAnnotation];
  if (claim === undefined || claim === '') return claim;
  const isYounger = shard.claims.every(
    (volume) => Date.parse(volume.metadata.creationTimestamp ?? '') > Date.parse(madeAt),
  );
  const ownsNothing = map === undefined || !ownerCounts(map.spec).has(shard.name);
  return shard.claims.length > 0 && isYounger && ownsNothing ? claim : undefined;
}
