import type { Action, ObservedShard, PlanInput, StepResult } from '../model.ts';
import { wait } from './result.ts';
import { contentShards } from './shards.ts';

/** Roles, the database and Herdsman's own schemas on every shard whose primary answers. */
export function setUp(input: PlanInput): StepResult {
  const lacking = input.observed.shards.filter(
    ({ database }) => database.state === 'present' && !database.value.isSetUp,
  );
  const actions = lacking.map((shard): Action => ({ kind: 'set-up-database', shard: shard.name }));
  const needed: readonly ObservedShard[] = contentShards(input);
  if (lacking.some((shard) => needed.includes(shard)))
    return wait('SettingUp', 'roles and databases are being made', 0, actions);
  const silent = needed.find((shard) => shard.database.state !== 'present');
  if (silent === undefined) return { kind: 'continue', actions };
  const message =
    silent.database.state === 'unknown'
      ? `shard ${silent.name}: ${silent.database.error.message}`
      : `shard ${silent.name} has no primary yet`;
  return wait('PrimaryUnknown', message, 1_000, actions);
}
