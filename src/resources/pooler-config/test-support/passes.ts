import { objectId } from '../../sharded-cluster/steps/objects.ts';
import type { Action, Observed, PoolerConfig } from '../model.ts';
import { type Plan, plan } from '../plan.ts';
import { instance, planInput } from './world.ts';

/** What a plan does, in order. */
export const kinds = ({ actions }: Plan): string[] => actions.map((action) => action.kind);

/** Carries out what a plan wants as far as the world goes, until it wants nothing more. */
export function settle(pooler: PoolerConfig, start: Observed): { observed: Observed; last: Plan } {
  let observed = start;
  for (let pass = 0; pass < 20; pass += 1) {
    const decided = plan(planInput(pooler, observed));
    if (decided.actions.length === 0) return { observed, last: decided };
    observed = decided.actions.reduce((world, action) => after(world, action, decided), observed);
  }
  throw new Error('the plan never comes to rest');
}

/** The world with one action carried out. */
export function after(observed: Observed, action: Action, decided: Plan): Observed {
  switch (action.kind) {
    case 'write-secret': {
      const value = { data: action.secret.data, resourceVersion: '2' };
      return {
        ...observed,
        secrets: new Map([...observed.secrets, [action.secret.metadata.name, { state: 'present', value }]]),
      };
    }
    case 'apply': {
      const objects = new Map([...observed.objects, [objectId(action.object), action.object]]);
      if (action.object.kind !== 'StatefulSet') return { ...observed, objects };
      const replicas = (action.object.spec as { replicas: number }).replicas;
      const revision = decided.revision;
      return {
        ...observed,
        objects,
        statefulSet: { ...action.object, spec: { replicas }, status: {} } as Observed['statefulSet'],
        instances: Array.from(
          { length: replicas },
          (_, ordinal) => observed.instances[ordinal] ?? instance(ordinal, { revision }),
        ),
      };
    }
    case 'reload':
      return {
        ...observed,
        instances: observed.instances.map((entry) =>
          entry.name === action.pod ? instance(entry.ordinal, { revision: decided.revision }) : entry,
        ),
      };
    default:
      return observed;
  }
}
