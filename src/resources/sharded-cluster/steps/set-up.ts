import type { Action, ObservedShard, PlanInput, StepResult } from '../model.ts';
import { wait } from './result.ts';
import { catalogOf, contentShards } from './shards.ts';

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
  if (silent !== undefined) {
    const message =
      silent.database.state === 'unknown'
        ? `shard ${silent.name}: ${silent.database.error.message}`
        : `shard ${silent.name} has no primary yet`;
    return wait('PrimaryUnknown', message, 1_000, actions);
  }
  const locked = needed.find((shard) => catalogOf(shard) === undefined);
  if (locked === undefined) return { kind: 'continue', actions };
  const { underWay } = input.observed;
  if (underWay !== undefined) return wait('Migrating', `${underWay} is under way`, 1_000, actions);
  const message = `shard ${locked.name}: somebody has held a table exclusively for long, so nothing is changed (see pg_locks)`;
  return wait('TablesLocked', message, 2_000, actions);
}
