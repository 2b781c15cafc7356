import { objectId } from '../../sharded-cluster/steps/objects.ts';
import { startAnnotation } from '../desired/pgpool-objects.ts';
import type { Action, Observed, ObservedInstance, PoolerConfig } from '../model.ts';
import { revisionAnnotation } from '../names.ts';
import { planPgpool } from '../pgpool/plan.ts';
import type { Plan } from '../plan.ts';
import { instance, planInput } from './world.ts';

/** What is done in one pass. */
export const decide = (pooler: PoolerConfig, observed: Observed) => planPgpool(planInput(pooler, observed));

/** Carries out what a plan wants, as the cluster does, until it wants nothing more. */
export function settle(
  pooler: PoolerConfig,
  start: Observed,
): { observed: Observed; last: Plan; plans: Plan[] } {
  let observed = start;
  const plans: Plan[] = [];
  for (let pass = 0; pass < 20; pass += 1) {
    const decided = decide(pooler, observed);
    plans.push(decided);
    const next = decided.actions.reduce((world, action) => after(world, action, decided), observed);
    if (decided.actions.length === 0 && decided.result.kind === 'ready')
      return { observed, last: decided, plans };
    observed = replaceOne(next, decided);
  }
  throw new Error('the plan never comes to rest');
}

/** The world when an action has been carried out. */
export function after(observed: Observed, action: Action, { revision }: Plan): Observed {
  switch (action.kind) {
    case 'write-secret': {
      const value = { data: action.secret.data, resourceVersion: '2' };
      const name = action.secret.metadata.name;
      return { ...observed, secrets: new Map([...observed.secrets, [name, { state: 'present', value }]]) };
    }
    case 'apply': {
      const objects = new Map([...observed.objects, [objectId(action.object), action.object]]);
      if (action.object.kind !== 'StatefulSet') return { ...observed, objects };
      const { replicas } = action.object.spec as { replicas: number };
      const instances = Array.from(
        { length: replicas },
        (_, ordinal) =>
          observed.instances[ordinal] ?? running(ordinal, templateStart(action.object), revision),
      );
      return { ...observed, objects, statefulSet: action.object as Observed['statefulSet'], instances };
    }
    case 'deliver': {
      const instances = observed.instances.map((entry) =>
        entry.name === action.pod ? running(entry.ordinal, startOf(entry), action.revision) : entry,
      );
      return { ...observed, instances };
    }
    default:
      return observed;
  }
}

/** What the StatefulSet controller does: one instance at a time. */
function replaceOne(observed: Observed, { revision }: Plan): Observed {
  const { statefulSet, instances } = observed;
  if (statefulSet === undefined) return observed;
  const wanted = templateStart(statefulSet);
  const old = instances.findLastIndex((entry) => startOf(entry) !== wanted);
  return {
    ...observed,
    instances: instances.map((entry, index) => (index === old ? running(index, wanted, revision) : entry)),
  };
}

function templateStart(object: { spec?: unknown }): string {
  const { template } = object.spec as { template: { metadata: { annotations: Record<string, string> } } };
  return template.metadata.annotations[startAnnotation] ?? '';
}

function startOf({ pod }: ObservedInstance): string {
  return pod.metadata.annotations?.[startAnnotation] ?? '';
}

function running(ordinal: number, start: string, revision: string | undefined): ObservedInstance {
  const made = instance(ordinal, { revision });
  const annotations = { [startAnnotation]: start, [revisionAnnotation]: revision ?? '' };
  return { ...made, pod: { ...made.pod, metadata: { ...made.pod.metadata, annotations } } };
}

/** With which settings of those that are read at the start each instance was started. */
export function starts({ observed }: { observed: Observed }): string[] {
  return observed.instances.map(startOf);
}

/** Weight of each server by its name. */
export function weights(plan: Plan): Record<string, number> {
  return Object.fromEntries((plan.backends ?? []).map(({ name, weight }) => [name, weight]));
}
