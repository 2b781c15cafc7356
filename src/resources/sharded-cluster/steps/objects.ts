import { createHash } from 'node:crypto';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import { bytesOf } from '../desired/quantity.ts';
import { resourceTypeOf } from '../kinds.ts';
import type { StatefulSet } from '../kubernetes.ts';
import type { Action } from '../model.ts';

/** Annotation with the hash of what was applied last; drift is judged on it, never on the live object. */
export const appliedAnnotation = 'herdsman.dev/applied';

/** Identifies an object among those of one cluster: `StatefulSet/shop-s0`. */
export function objectId(object: KubernetesObject): string {
  return `${object.kind}/${object.metadata.name}`;
}

/** The object with the annotation that says what it was made from. */
export function withAppliedHash<T extends KubernetesObject>(object: T): T {
  const hash = createHash('sha256').update(JSON.stringify(object)).digest('hex').slice(0, 16);
  return {
    ...object,
    metadata: {
      ...object.metadata,
      annotations: { ...object.metadata.annotations, [appliedAnnotation]: hash },
    },
  };
}

/**
 * The wanted objects that are missing, or that were last applied from something else, ready to apply. What somebody else
 * (a webhook, another controller) changed on an object of ours is left to them: re-applying would be a fight. But for the number
 * of a StatefulSet's pods: members come and go in an order, and a shard that was scaled to nothing serves nobody.
 */
export function objectsToApply(
  wanted: readonly KubernetesObject[],
  present: ReadonlyMap<string, KubernetesObject>,
): KubernetesObject[] {
  return wanted.map(withAppliedHash).filter((object) => {
    const live = present.get(objectId(object));
    if (live?.metadata.deletionTimestamp !== undefined) return false;
    if (live !== undefined && isScaledByHand(object, live)) return true;
    return (
      live?.metadata.annotations?.[appliedAnnotation] !== object.metadata.annotations?.[appliedAnnotation]
    );
  });
}

/** Whether a StatefulSet that was applied like this has another number of pods by now. */
export function isScaledByHand(wanted: KubernetesObject, live: KubernetesObject): boolean {
  const [shall, has] = [wanted, live].map((object) => (object as StatefulSet).spec?.replicas);
  return wanted.kind === 'StatefulSet' && shall !== undefined && has !== undefined && shall !== has;
}

/** How an object comes to be as it is wanted. */
export type Replacement = Extract<Action, { kind: 'apply' | 'delete' }>;

/** Kubernetes refuses a new size in a StatefulSet's template: the StatefulSet is made anew around its pods and volumes. */
export function applyOrReplace(object: KubernetesObject, live: StatefulSet | undefined): Replacement {
  const type = resourceTypeOf(object);
  if (object.kind !== 'StatefulSet' || live === undefined) return { kind: 'apply', type, object };
  if (bytesOf(templateSize(live) ?? '0') === bytesOf(templateSize(object) ?? '0'))
    return { kind: 'apply', type, object };
  return {
    kind: 'delete',
    type,
    object: live,
    uid: live.metadata.uid ?? '',
    evidence: 'its volume template has another size; pods and volumes stay, and it is made again at once',
    orphan: true,
  };
}

function templateSize(object: KubernetesObject): string | undefined {
  const { spec } = object as StatefulSet;
  return spec?.volumeClaimTemplates?.[0]?.spec?.resources?.requests?.storage;
}
