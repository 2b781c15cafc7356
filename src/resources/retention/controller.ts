import type { Clock } from '../../runtime/clock.ts';
import { type Controller, defineController, type ReconcileResult } from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { Informer } from '../../runtime/informer.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { keyOf, type ObjectKey } from '../../runtime/kubernetes-object.ts';
import { persistentVolumeClaimType } from '../../runtime/kubernetes-types.ts';
import { changed, mapped } from '../../runtime/watches.ts';
import { shardedClusterType } from '../sharded-cluster/kinds.ts';
import type { PersistentVolumeClaim } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { clusterLabel, scope, shardLabel } from '../sharded-cluster/names.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import {
  decideRetention,
  deletionPolicyAnnotation,
  holdPeriodAnnotation,
  releasedAtAnnotation,
} from './plan.ts';
import { type MemberTraces, podOfClaim, usageOf } from './usage.ts';

/** What the controller works with. */
export interface RetentionDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly events: EventRecorder;
  readonly clock: Clock;
}

/** Looks after volumes that no member uses any more. Its keys are the claims. */
export function retentionController({ client, sources, events, clock }: RetentionDependencies): Controller {
  const claims: Informer<PersistentVolumeClaim> = sources.claims;

  async function reconcile(
    key: ObjectKey,
    { signal }: { signal: AbortSignal },
  ): Promise<ReconcileResult | undefined> {
    const claim = claims.cache.get(key);
    const cluster = claim?.metadata.labels?.[clusterLabel];
    if (claim === undefined || cluster === undefined) return undefined;
    const owner = sources.clusters.cache.get({ namespace: key.namespace, name: cluster });
    if (owner !== undefined) await keepPolicy(claim, owner, signal);
    const decision = decideRetention(claim, usageOf(claim, tracesOf(claim, cluster, owner)), clock.now());
    switch (decision.kind) {
      case 'none':
        return decision.dueAt === undefined
          ? undefined
          : { requeueAfterMs: Math.max(1_000, decision.dueAt.getTime() - clock.now().getTime()) };
      case 'release':
        await annotate(claim, { [releasedAtAnnotation]: decision.releasedAt }, signal);
        return undefined;
      case 'reuse':
        await annotate(claim, { [releasedAtAnnotation]: null }, signal);
        return undefined;
      case 'delete': {
        // The cache may be behind: that nobody wants the volume, the API server must say itself.
        const live = await client.read<ShardedCluster>(
          shardedClusterType,
          { namespace: key.namespace, name: cluster },
          { signal },
        );
        if (live.state === 'unknown') throw live.error;
        const isKept =
          live.state === 'present' &&
          (live.value.spec.deletionPolicy !== 'delete' ||
            usageOf(claim, tracesOf(claim, cluster, live.value)) !== 'unused');
        if (isKept) return { requeueAfterMs: 5_000 };
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

  /** The claim outlives the cluster, so it carries the policy itself. The default needs no word. */
  async function keepPolicy(
    claim: PersistentVolumeClaim,
    owner: ShardedCluster,
    signal: AbortSignal,
  ): Promise<void> {
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

  function tracesOf(
    claim: PersistentVolumeClaim,
    cluster: string,
    owner: ShardedCluster | undefined,
  ): MemberTraces {
    const { namespace = '', labels } = claim.metadata;
    const name = scope(cluster, labels?.[shardLabel] ?? '');
    return {
      owner,
      statefulSet: sources.statefulSets.cache.get({ namespace, name }),
      hasPod: sources.pods.cache.get({ namespace, name: podOfClaim(claim) }) !== undefined,
    };
  }

  function claimsOf(object: { metadata: { name: string; namespace?: string } }): ObjectKey[] {
    const { name, namespace = '' } = object.metadata;
    return claims.cache.byIndex(byCluster, clusterIndexValue(namespace, name)).map(keyOf);
  }

  return defineController<PersistentVolumeClaim>({
    name: 'retention',
    source: claims,
    watches: [
      mapped(sources.clusters, claimsOf, changed('generation', 'deletion')),
      mapped(
        sources.statefulSets,
        (statefulSet) =>
          claimsOf({
            metadata: { ...statefulSet.metadata, name: statefulSet.metadata.labels?.[clusterLabel] ?? '' },
          }),
        changed('generation', 'deletion'),
      ),
      mapped(
        sources.pods,
        (pod) => [{ namespace: pod.metadata.namespace ?? '', name: `data-${pod.metadata.name}` }],
        ({ kind }) => kind !== 'updated',
      ),
    ],
    concurrency: 2,
    reconcile,
  });
}
