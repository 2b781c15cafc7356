import { type Action, type PlanInput, proceed, type StepResult } from '../model.ts';

/** Patroni looks once, when a server starts, whether it has to be rewound; so a restart lets it look again. */
const restartAfterMs = 120_000;

/**
 * Standbys that have lost touch with their primary. One whose WAL is gone is copied anew, since nothing else can help it;
 * another one is restarted. Neither holds up what comes after: a new template may be what helps.
 */
export function strays({ observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap(({ name: shard, strays: found }) =>
    found.flatMap(({ name: member, forMs, isLost }): Action[] => {
      if (isLost) return [{ kind: 'reinitialize', shard, member }];
      return forMs < restartAfterMs ? [] : [{ kind: 'restart', shard, member }];
    }),
  );
  return actions.length === 0 ? proceed : { kind: 'continue', actions };
}
