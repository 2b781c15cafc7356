import type { ShardedClusterStatus } from '../api/v1alpha1/sharded-cluster.ts';
import type { Clock } from '../runtime/clock.ts';
import { setCondition } from '../runtime/conditions.ts';
import type { Expectations } from '../runtime/expectations.ts';
import type { Informer } from '../runtime/informer.ts';
import type { KubeClient } from '../runtime/kube-client.ts';
import { type Condition, type KubernetesObject, keyOf, keyString } from '../runtime/kubernetes-object.ts';
import { writeStatus } from '../runtime/status-writer.ts';
import { fieldManager } from './sharded-cluster/names.ts';
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
export function suspended(
  before: Said | undefined,
  generation: number | undefined,
  now: Date,
  reason = 'Suspended',
): Suspended {
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  const conditions = setCondition(
    conditionsBefore(before ?? {}),
    {
      type: 'Progressing',
      status: 'False',
      reason,
      message: 'spec.suspend is true: nothing is changed until it is false again',
      ...observed,
    },
    now,
  );
  return { ...observed, phase: 'Suspended', conditions: [...conditions] };
}

/** What a controller tells a suspension with. */
export interface Telling {
  readonly client: Pick<KubeClient, 'applyStatus' | 'updateStatus'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly expectations: Pick<Expectations, 'expectWritten'>;
}

/** Says in the status of an object that it is suspended. The work begins again with the change that ends it. */
export async function tellSuspended<T extends KubernetesObject & { status?: Said }>(
  { client, clock, expectations }: Telling,
  { type, cache }: Pick<Informer<T>, 'type' | 'cache'>,
  object: T,
  signal: AbortSignal,
  reason?: string,
): Promise<undefined> {
  const said = suspended(object.status, object.metadata.generation, clock.now(), reason);
  const status = { ...object.status, ...said } as NonNullable<T['status']>;
  const written = await writeStatus(client, type, object, status, { signal, fieldManager });
  if (written.changed) expectations.expectWritten(keyString(keyOf(object)), cache, written.object);
}
