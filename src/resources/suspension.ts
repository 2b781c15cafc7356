import type { ShardedClusterStatus } from '../api/v1alpha1/sharded-cluster.ts';
import { setCondition } from '../runtime/conditions.ts';
import type { Condition } from '../runtime/kubernetes-object.ts';
import { conditionsBefore } from './sharded-cluster/status.ts';

/** What the statuses of the kinds that can be suspended have in common. */
type Said = Pick<ShardedClusterStatus, 'observedGeneration' | 'phase' | 'conditions'>;

/** What a suspended object is given as its status. */
export interface Suspended {
  observedGeneration?: number;
  phase: string;
  conditions: Condition[];
}

/**
 * What the status of a suspended object says: why nothing happens. The other conditions keep the generation that they are of; who
 * goes on when the suspension ends replaces this one.
 */
export function suspended(before: Said | undefined, generation: number | undefined, now: Date): Suspended {
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  const conditions = setCondition(
    conditionsBefore(before ?? {}),
    {
      type: 'Progressing',
      status: 'False',
      reason: 'Suspended',
      message: 'spec.suspend is true: nothing is changed until it is false again',
      ...observed,
    },
    now,
  );
  return { ...observed, phase: 'Suspended', conditions: [...conditions] };
}
