import { type Action, type ObservedShard, type PlanInput, proceed, type StepResult } from '../model.ts';

/** Patroni looks once, when a server starts, whether it has to be rewound; so a restart lets it look again. */
const restartAfterMs = 120_000;

/**
 * Standbys that have lost touch with their primary. One whose WAL is gone is copied anew, since nothing else can help it;
 * another one is restarted. Neither holds up what comes after: a new template may be what helps.
 */
export function strays({ observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap(broughtBack);
  return actions.length === 0 ? proceed : { kind: 'continue', actions };
}

/** One at a time: until its copy is whole, those that are behind may be all that there is beside the primary. */
function broughtBack({ name: shard, members, strays: found }: ObservedShard): Action[] {
  if (members.some(({ ready }) => !ready)) return [];
  const lost = found.find(({ isLost }) => isLost);
  if (lost !== undefined) return [{ kind: 'reinitialize', shard, member: lost.name }];
  const still = found.find(({ forMs }) => forMs >= restartAfterMs);
  return still === undefined ? [] : [{ kind: 'restart', shard, member: still.name }];
}
