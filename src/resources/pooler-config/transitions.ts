import type { Condition } from '../../runtime/kubernetes-object.ts';

/** A change of a condition that users are told of by an event. */
export interface Transition {
  readonly condition: Condition;
  readonly isBad: boolean;
}

/** What changed between two statuses; of a first status what is news: that it is ready, or what is wrong with the spec. */
export function transitionsOf(
  before: readonly Condition[] | undefined,
  after: readonly Condition[],
): Transition[] {
  return after.flatMap((condition): Transition[] => {
    const { type, status } = condition;
    const former = before?.find((other) => other.type === type);
    if (type === 'Progressing' || status === former?.status) return [];
    const isBad = (type === 'Degraded') === (status === 'True');
    // Nothing is ready at first, and Degraded says why when that does not pass.
    if (former === undefined && isBad === (type === 'Ready')) return [];
    return [{ condition, isBad }];
  });
}
