import { type Action, type PlanInput, proceed, type StepResult } from '../model.ts';
import { wait } from './result.ts';

/** Roles, the database and Herdsman's own schemas on every shard whose primary answers. */
export function setUp({ observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap((shard): Action[] =>
    shard.database.state === 'present' && !shard.database.value.isSetUp
      ? [{ kind: 'set-up-database', shard: shard.name }]
      : [],
  );
  if (actions.length > 0) return wait('SettingUp', 'roles and databases are being made', 0, actions);
  const silent = observed.shards.find((shard) => shard.database.state !== 'present');
  if (silent === undefined) return proceed;
  const message =
    silent.database.state === 'unknown'
      ? `shard ${silent.name}: ${silent.database.error.message}`
      : `shard ${silent.name} has no primary yet`;
  return wait('PrimaryUnknown', message, 1_000);
}
