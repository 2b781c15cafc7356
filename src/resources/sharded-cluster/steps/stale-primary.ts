import { type Action, type PlanInput, proceed, type StepResult } from '../model.ts';
import { roleLabel } from '../names.ts';

/**
 * A primary that was frozen or cut off keeps its label, and with it its place in the -rw Service, until its node is given up;
 * half of all new connections would go nowhere meanwhile. When another member leads, the label goes; the member sets it
 * itself when it is back.
 */
export function stalePrimaries({ observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap((shard): Action[] => {
    const leader = shard.group.state === 'present' ? shard.group.value.leader : undefined;
    if (leader === undefined) return [];
    return shard.members.flatMap(({ name, pod }): Action[] => {
      if (name === leader || pod?.metadata.labels?.[roleLabel] !== 'primary') return [];
      return [{ kind: 'relabel', shard: shard.name, pod, leader }];
    });
  });
  return actions.length === 0 ? proceed : { kind: 'continue', actions };
}
