import { type Action, type PlanInput, proceed, type StepResult } from '../model.ts';
import { roleLabel } from '../names.ts';

/**
 * A primary that was frozen or cut off keeps its label, and with it its place in the -rw Service, until its node is given up;
 * half of all new connections would go nowhere meanwhile. When another member leads and has the label too, it goes; the
 * member sets it itself when it is back. Not before: a Service without any endpoint costs clients more than one too many.
 */
export function stalePrimaries({ observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap((shard): Action[] => {
    const leader = shard.group.state === 'present' ? shard.group.value.leader : undefined;
    const labelled = shard.members.filter(({ pod }) => pod?.metadata.labels?.[roleLabel] === 'primary');
    if (leader === undefined || !labelled.some(({ name }) => name === leader)) return [];
    return labelled.flatMap(({ name, pod }): Action[] =>
      name === leader || pod === undefined ? [] : [{ kind: 'relabel', shard: shard.name, pod, leader }],
    );
  });
  return actions.length === 0 ? proceed : { kind: 'continue', actions };
}
