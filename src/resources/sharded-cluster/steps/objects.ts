import { createHash } from 'node:crypto';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';

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
 * (a webhook, another controller) changed on an object of ours is left to them: re-applying would be a fight.
 */
export function objectsToApply(
  wanted: readonly KubernetesObject[],
  present: ReadonlyMap<string, KubernetesObject>,
): KubernetesObject[] {
  return wanted.map(withAppliedHash).filter((object) => {
    const live = present.get(objectId(object));
    if (live?.metadata.deletionTimestamp !== undefined) return false;
    return (
      live?.metadata.annotations?.[appliedAnnotation] !== object.metadata.annotations?.[appliedAnnotation]
    );
  });
}
