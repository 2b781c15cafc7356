import type { Clock } from '../../runtime/clock.ts';
import { type Controller, defineController, type ReconcileResult } from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import {
  type KubernetesObject,
  keyOf,
  type ObjectKey,
  type ResourceType,
} from '../../runtime/kubernetes-object.ts';
import { persistentVolumeClaimType } from '../../runtime/kubernetes-types.ts';
import { changed, mapped } from '../../runtime/watches.ts';
import type { PersistentVolumeClaim } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { releasedAtAnnotation } from '../sharded-cluster/names.ts';
import type { VolumeHolder, VolumeOwner } from './holder.ts';
import {
  clockProblem,
  decideRetention,
  deletionPolicyAnnotation,
  holdPeriodAnnotation,
  type RetentionDecision,
} from './plan.ts';
import { podOfClaim, type Usage } from './usage.ts';

/** When to look again whether the clocks have been set. */
const clockRetryMs = 5 * 60_000;

/** When to look again; answers tell the time by the second, so that one may be a little behind the one before. */
function untilDue(decision: RetentionDecision, now: Date): number {
  const dueAt = decision.kind === 'none' ? decision.dueAt : undefined;
  return dueAt === undefined ? clockRetryMs : Math.max(1_000, dueAt.getTime() - now.getTime());
}

/** One that is about to go decides nothing any more. */
function present(cluster: ShardedCluster | undefined): ShardedCluster | undefined {
  return cluster?.metadata.deletionTimestamp === undefined ? cluster : undefined;
}

/** What a cluster says of its shards, as one text. */
function shardsTold(cluster: ShardedCluster | undefined): string {
  const { items = [], names } = cluster?.status?.shards ?? {};
  const { generation, deletionTimestamp } = cluster?.metadata ?? {};
  return JSON.stringify([
    generation,
    deletionTimestamp,
    names,
    items.map(({ name, buckets = {} }) => [name, Object.values(buckets).some((count) => count > 0)]),
  ]);
}

/** What the controller works with. */
export interface RetentionDependencies<T extends VolumeOwner> {
  readonly client: Pick<KubeClient, 'delete' | 'patch' | 'read' | 'serverTime'>;
  readonly holder: VolumeHolder<T>;
  readonly events: EventRecorder;
  readonly clock: Clock;
}

/** Looks after volumes that no member of a kind's objects uses any more. Its keys are the claims. */
export function retentionController<T extends VolumeOwner>({
  client,
  holder,
  events,
  clock,
}: RetentionDependencies<T>): Controller {
  const { claims, owners, followed } = holder;

  async function reconcile(
    key: ObjectKey,
    { signal }: { signal: AbortSignal },
  ): Promise<ReconcileResult | undefined> {
    const claim = claims.cache.get(key);
    const name = claim?.metadata.labels?.[holder.ownerLabel];
    if (claim === undefined || name === undefined) return undefined;
    const ownerKey = { namespace: key.namespace, name };
    const owner = owners.cache.get(ownerKey);
    if (owner !== undefined) await keepPolicy(claim, owner, signal);
    const now = client.serverTime() ?? clock.now();
    const decision = decideRetention(claim, usageOf(claim, owner, cachedCluster(owner)), now);
    switch (decision.kind) {
      case 'none':
        return decision.dueAt === undefined ? undefined : { requeueAfterMs: untilDue(decision, now) };
      case 'release':
        await annotate(claim, { [releasedAtAnnotation]: decision.releasedAt }, signal);
        return undefined;
      case 'reuse':
        await annotate(claim, { [releasedAtAnnotation]: null }, signal);
        return undefined;
      case 'delete': {
        // The cache may be behind: that nobody wants the volume, the API server must say itself.
        const live = await readNow<T>(owners.type, ownerKey, signal);
        const isKept =
          live !== undefined &&
          (live.spec.deletionPolicy !== 'delete' ||
            usageOf(claim, live, await clusterNow(live, signal)) !== 'unused');
        if (isKept) return { requeueAfterMs: 5_000 };
        const serverTime = client.serverTime();
        // The last answer may be of another API server, whose clock shows another time than that of the first.
        const again = decideRetention(claim, 'unused', serverTime ?? now);
        if (again.kind !== 'delete') return { requeueAfterMs: untilDue(again, serverTime ?? now) };
        const problem = clockProblem(clock.now(), serverTime);
        if (problem !== undefined) {
          events.record(claim, {
            type: 'Warning',
            reason: 'VolumeKept',
            action: 'Delete',
            note: `PersistentVolumeClaim ${key.name} is not deleted, though its hold period seems to be over: ${problem}`,
          });
          return { requeueAfterMs: clockRetryMs };
        }
        await client.delete(persistentVolumeClaimType, key, {
          uid: decision.uid,
          ...(claim.metadata.resourceVersion === undefined
            ? {}
            : { resourceVersion: claim.metadata.resourceVersion }),
          signal,
        });
        events.record(claim, {
          type: 'Normal',
          reason: 'VolumeDeleted',
          action: 'Delete',
          note: `PersistentVolumeClaim ${key.name} was deleted: ${decision.evidence}`,
        });
        return undefined;
      }
    }
  }

  async function readNow<Of extends KubernetesObject>(
    type: ResourceType,
    key: ObjectKey,
    signal: AbortSignal,
  ): Promise<Of | undefined> {
    const reading = await client.read<Of>(type, key, { signal });
    if (reading.state === 'unknown') throw reading.error;
    return reading.state === 'present' ? reading.value : undefined;
  }

  async function clusterNow(owner: T, signal: AbortSignal): Promise<ShardedCluster | undefined> {
    if (followed === undefined) return undefined;
    return present(await readNow(followed.clusters.type, followed.clusterOf(owner), signal));
  }

  function cachedCluster(owner: T | undefined): ShardedCluster | undefined {
    if (followed === undefined || owner === undefined) return undefined;
    return present(followed.clusters.cache.get(followed.clusterOf(owner)));
  }

  /** The claim outlives its owner, so it carries the policy itself. The default needs no word. */
  async function keepPolicy(claim: PersistentVolumeClaim, owner: T, signal: AbortSignal): Promise<void> {
    const { deletionPolicy = 'keep', holdPeriod = '7d' } = owner.spec;
    const annotations = claim.metadata.annotations ?? {};
    const wanted = deletionPolicy === 'keep' ? undefined : deletionPolicy;
    const hold = wanted === undefined ? undefined : holdPeriod;
    if (annotations[deletionPolicyAnnotation] === wanted && annotations[holdPeriodAnnotation] === hold)
      return;
    await annotate(
      claim,
      { [deletionPolicyAnnotation]: wanted ?? null, [holdPeriodAnnotation]: hold ?? null },
      signal,
    );
  }

  async function annotate(
    claim: PersistentVolumeClaim,
    annotations: Readonly<Record<string, string | null>>,
    signal: AbortSignal,
  ): Promise<void> {
    const patch = { metadata: { annotations } };
    await client.patch(persistentVolumeClaimType, keyOf(claim), patch, { type: 'merge', signal });
  }

  function usageOf(
    claim: PersistentVolumeClaim,
    owner: T | undefined,
    cluster: ShardedCluster | undefined,
  ): Usage {
    const { namespace = '' } = claim.metadata;
    const statefulSet = holder.statefulSetOf(claim);
    return holder.usageOf(claim, {
      owner,
      cluster,
      statefulSet:
        statefulSet === undefined
          ? undefined
          : holder.statefulSets.cache.get({ namespace, name: statefulSet }),
      hasPod: holder.pods.cache.get({ namespace, name: podOfClaim(claim) }) !== undefined,
    });
  }

  function claimsOf({ name, namespace = '' }: { name: string; namespace?: string }): ObjectKey[] {
    return claims.cache.byIndex(holder.index, `${namespace}/${name}`).map(keyOf);
  }

  return defineController<PersistentVolumeClaim>({
    name: holder.name,
    source: claims,
    watches: [
      ...(followed === undefined
        ? []
        : [
            mapped(
              followed.clusters,
              (cluster) => followed.ownersIn(cluster).flatMap(({ metadata }) => claimsOf(metadata)),
              ({ old, current }) => shardsTold(old) !== shardsTold(current),
            ),
          ]),
      mapped(owners, ({ metadata }) => claimsOf(metadata), changed('generation', 'deletion')),
      mapped(
        holder.statefulSets,
        ({ metadata }) => claimsOf({ ...metadata, name: metadata.labels?.[holder.ownerLabel] ?? '' }),
        changed('generation', 'deletion'),
      ),
      mapped(
        holder.pods,
        (pod) => [{ namespace: pod.metadata.namespace ?? '', name: `data-${pod.metadata.name}` }],
        ({ kind }) => kind !== 'updated',
      ),
    ],
    concurrency: 2,
    reconcile,
  });
}
