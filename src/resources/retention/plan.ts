import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { PersistentVolumeClaim } from '../sharded-cluster/kubernetes.ts';
import { releasedAtAnnotation } from '../sharded-cluster/names.ts';
import type { Usage } from './usage.ts';

/** Annotation with `spec.deletionPolicy` of the owner, kept on the claim since it outlives the owner. */
export const deletionPolicyAnnotation = 'herdsman.dev/deletion-policy';
/** Annotation with `spec.holdPeriod` of the owner. */
export const holdPeriodAnnotation = 'herdsman.dev/hold-period';

/** By how much the operator's clock may differ from the API server's before neither is believed. */
const clockToleranceMs = 5 * 60_000;

/** Why no hold period can be said to be over, or `undefined` when both clocks agree on the time. */
export function clockProblem(now: Date, serverTime: Date | undefined): string | undefined {
  if (serverTime === undefined) return 'the API server has not said what time it is';
  const aheadMs = now.getTime() - serverTime.getTime();
  if (Math.abs(aheadMs) <= clockToleranceMs) return undefined;
  const minutes = Math.round(Math.abs(aheadMs) / 60_000);
  return `the clock of the operator's node is ${minutes} minutes ${aheadMs > 0 ? 'ahead of' : 'behind'} that of the API server: set both right`;
}

/** What to do with one claim. */
export type RetentionDecision =
  | { readonly kind: 'none'; readonly dueAt?: Date }
  | { readonly kind: 'release'; readonly releasedAt: string }
  | { readonly kind: 'reuse' }
  | { readonly kind: 'delete'; readonly uid: string; readonly evidence: string };

/**
 * Two phases: a claim that no member uses is marked with the time; only with deletionPolicy delete, and only when the hold
 * period has passed since, it is deleted. Using it again clears the mark.
 */
export function decideRetention(claim: PersistentVolumeClaim, usage: Usage, now: Date): RetentionDecision {
  const { annotations = {}, uid, deletionTimestamp } = claim.metadata;
  if (deletionTimestamp !== undefined || usage === 'unknown' || uid === undefined) return { kind: 'none' };
  const releasedAt = annotations[releasedAtAnnotation];
  if (usage === 'used') return releasedAt === undefined ? { kind: 'none' } : { kind: 'reuse' };
  if (releasedAt === undefined) return { kind: 'release', releasedAt: now.toISOString() };
  if (annotations[deletionPolicyAnnotation] !== 'delete') return { kind: 'none' };
  const released = Date.parse(releasedAt);
  const holdMs = durationMs(annotations[holdPeriodAnnotation] ?? '');
  // An annotation that cannot be read is no evidence: the claim stays.
  if (Number.isNaN(released) || holdMs === undefined) return { kind: 'none' };
  if (now.getTime() < released + holdMs) return { kind: 'none', dueAt: new Date(released + holdMs) };
  return {
    kind: 'delete',
    uid,
    evidence: `no member has used it since ${releasedAt}, deletionPolicy is delete, and the hold period of ${annotations[holdPeriodAnnotation]} is over`,
  };
}
