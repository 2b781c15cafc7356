import type { ModelMemberStatus, ModelStatus } from '../../../api/v1alpha1/read-model.ts';
import type { ReadReplicaSetStatus } from '../../../api/v1alpha1/read-replica-set.ts';
import type { ConditionInput } from '../../../runtime/conditions.ts';
import { conditionsBefore, merged } from '../../sharded-cluster/status.ts';
import { ofGeneration } from '../../sharded-cluster/status-conditions.ts';
import { statusOf } from '../status.ts';
import type { ModelMember, ModelStep } from './model.ts';
import { clusterLedger } from './next-step.ts';
import { describeStep, type ModelInput, type ModelPlan } from './plan.ts';

/** The whole status of a logical set, from zero. */
export function modelStatusOf(input: ModelInput, decided: ModelPlan): ReadReplicaSetStatus {
  const { set, part, settings, now, members, world } = input;
  const base = statusOf({ set, observed: part, settings, now }, decided.plan, undefined);
  const copying = copyingCondition(input, decided);
  const conditions = ofGeneration(
    set.metadata.generation,
    [...(base.conditions ?? []), copying].map(
      ({ type, status, reason, message }): ConditionInput => ({ type, status, reason, message }),
    ),
  );
  const model: ModelStatus = {
    shards: world.sources
      .map(({ shard }) => shard)
      .filter((shard) => members.length > 0 && members.every((member) => isFollowed(member, shard))),
    members: members.map((member) =>
      memberStatus(member, decided.steps.get(member.replica.name), world.tables),
    ),
  };
  return { ...base, conditions: merged(conditionsBefore(set.status), conditions, now), model };
}

function isFollowed({ facts }: ModelMember, shard: string): boolean {
  return (
    facts.state === 'present' &&
    facts.value.copy?.live === true &&
    facts.value.streams.some((stream) => stream.shard === shard)
  );
}

/** Moves of buckets do not begin while a copy is made: it would have to be made again. */
function copyingCondition({ members }: ModelInput, { steps }: ModelPlan): ConditionInput {
  const copying = members.filter(({ facts, replica }) => {
    const step = steps.get(replica.name);
    const waitsForMoves = step?.kind === 'wait' && step.reason === 'WaitingForMoves';
    return (
      waitsForMoves ||
      step?.kind === 'begin' ||
      (facts.state === 'present' && facts.value.copy?.live === false)
    );
  });
  const names = copying.map(({ replica }) => replica.name).join(', ');
  return copying.length === 0
    ? { type: 'Copying', status: 'False', reason: 'NothingToCopy', message: 'no member copies its tables' }
    : { type: 'Copying', status: 'True', reason: 'Copying', message: `members copy their tables: ${names}` };
}

function memberStatus(
  { replica, facts }: ModelMember,
  step: ModelStep | undefined,
  tables: ModelInput['world']['tables'],
): ModelMemberStatus {
  const model = facts.state === 'present' ? facts.value : undefined;
  const copying = new Set(model?.streams.flatMap((stream) => stream.copying));
  const isBegun = model !== undefined && model.streams.length > 0;
  const sum = (count: 'applyErrors' | 'syncErrors') =>
    (model?.streams ?? []).reduce((total, stream) => total + stream[count], 0);
  const migration = clusterLedger(model?.ledger ?? []).at(-1)?.name;
  const message = step === undefined || step.kind === 'none' ? undefined : describeStep(step);
  return {
    name: replica.name,
    state: stateOf(step, model?.copy?.live),
    ...(message === undefined ? {} : { message }),
    ...(migration === undefined ? {} : { migration }),
    tables: tables.map(({ name }) => ({
      name,
      state: tableState(isBegun, copying.has(name)),
    })),
    ...(sum('applyErrors') === 0 ? {} : { applyErrors: sum('applyErrors') }),
    ...(sum('syncErrors') === 0 ? {} : { syncErrors: sum('syncErrors') }),
  };
}

function tableState(isBegun: boolean, isCopying: boolean): 'Waiting' | 'Copying' | 'Streaming' {
  if (!isBegun) return 'Waiting';
  return isCopying ? 'Copying' : 'Streaming';
}

function stateOf(step: ModelStep | undefined, live: boolean | undefined): ModelMemberStatus['state'] {
  if (step?.kind === 'fail') return 'Failed';
  if (step?.kind === 'migrate' || (step?.kind === 'wait' && step.reason === 'Migrating')) return 'Migrating';
  if (live === undefined) return step?.kind === 'wait' && step.reason === 'Silent' ? 'Waiting' : 'Starting';
  if (!live) return 'Copying';
  return 'Streaming';
}
