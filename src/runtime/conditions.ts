import type { Condition } from './kubernetes-object.ts';

/** A condition before it has a place in time. */
export type ConditionInput = Omit<Condition, 'lastTransitionTime'>;

/**
 * Sets one condition by its type. `lastTransitionTime` moves only when `status` changes; when nothing at all changes the
 * same array comes back, so that an identity check tells.
 */
export function setCondition(
  conditions: readonly Condition[],
  condition: ConditionInput,
  now: Date,
): readonly Condition[] {
  const index = conditions.findIndex((other) => other.type === condition.type);
  const previous = conditions[index];
  if (previous === undefined) return [...conditions, { ...condition, lastTransitionTime: timestamp(now) }];
  if (sameCondition(previous, condition)) return conditions;
  const lastTransitionTime =
    previous.status === condition.status ? previous.lastTransitionTime : timestamp(now);
  return conditions.with(index, { ...condition, lastTransitionTime });
}

/** The condition of a type, if there is one. */
export function findCondition(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** Whether the condition of a type is there and `True`. */
export function isConditionTrue(conditions: readonly Condition[] | undefined, type: string): boolean {
  return findCondition(conditions, type)?.status === 'True';
}

function sameCondition(a: ConditionInput, b: ConditionInput): boolean {
  return (
    a.status === b.status &&
    a.reason === b.reason &&
    a.message === b.message &&
    a.observedGeneration === b.observedGeneration
  );
}

/** metav1.Time has whole seconds: RFC 3339 without a fraction. */
function timestamp(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
