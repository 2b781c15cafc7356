import type { ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ConditionInput } from '../../runtime/conditions.ts';
import type { Outcome } from './plan-result.ts';

/** What the conditions are derived from. */
export interface ConditionFacts {
  readonly outcomes: readonly Outcome[];
  readonly readyShards: number;
  readonly desiredShards: number;
  /** One sentence for each shard that is not ready. */
  readonly unreadyReasons: readonly string[];
  /** Whether the cluster was never as wanted: then nothing is amiss while it is being made. */
  readonly isNew: boolean;
  /** Whether a shard is away that was there before, for longer than a planned switchover takes. */
  readonly hasLostShards: boolean;
  /** Members that are wanted and not ready. */
  readonly missingMembers: readonly string[];
  /** Standbys that are up, and have not followed their primary for a while. */
  readonly strays: readonly string[];
  /** Those whose data a person has to judge, and what has to go for them to be copied anew. */
  readonly keptStrays: readonly string[];
  /** Whether commits wait for no standby, though they should: there are too few members. */
  readonly isLessDurable: boolean;
  readonly refusedParameters: string | undefined;
  readonly generation: number | undefined;
}

/** The conditions of a ShardedCluster, from zero, in a fixed order. */
export function conditionsOf(facts: ConditionFacts): ConditionInput[] {
  const conditions = [ready(facts), progressing(facts), degraded(facts), schema(facts), parameters(facts)];
  return ofGeneration(facts.generation, conditions);
}

/** Conditions that say which generation of the spec they are of, where that is known. */
export function ofGeneration(
  generation: number | undefined,
  conditions: readonly ConditionInput[],
): ConditionInput[] {
  return conditions.map((condition) =>
    generation === undefined ? condition : { ...condition, observedGeneration: generation },
  );
}

/** Whether a status is of a cluster that was never as wanted. */
export function isNew(status: ShardedClusterStatus | undefined): boolean {
  if (status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True')) return false;
  if (status?.phase === undefined || status.phase === 'Creating') return true;
  const isSuspendedNew = status.conditions?.some(
    ({ type, reason }) => type === 'Progressing' && reason === creationSuspended,
  );
  if (status.phase === 'Suspended' && isSuspendedNew === true) return true;
  // Something had to be corrected, or it was suspended, at creation; the servers never came up.
  return ['Degraded', 'Suspended'].includes(status.phase) && status.lastGoodParameters === undefined;
}

const creationSuspended = 'CreationSuspended';

/** Why nothing goes on while a cluster is suspended; the phase, which says no more than that, cannot remember that it was being made. */
export function suspensionReason(status: ShardedClusterStatus | undefined): string {
  return isNew(status) ? creationSuspended : 'Suspended';
}

/** One word for people, from the conditions. */
export function phaseOf(facts: ConditionFacts): string {
  if (facts.outcomes.some((outcome) => outcome.result.kind === 'fail')) return 'Degraded';
  const isUnderWay =
    facts.readyShards < facts.desiredShards ||
    facts.outcomes.some((outcome) => outcome.result.kind === 'wait');
  if (isUnderWay && facts.isNew) return facts.missingMembers.length > 0 ? 'Degraded' : 'Creating';
  if (facts.hasLostShards) return 'Degraded';
  if (isUnderWay) return 'Updating';
  const isAmiss = [facts.missingMembers, facts.strays, facts.keptStrays].some(({ length }) => length > 0);
  if (facts.refusedParameters !== undefined || isAmiss) return 'Degraded';
  return 'Ready';
}

/** Ready: every shard that is wanted takes writes, and has its schema and tables. */
function ready(facts: ConditionFacts): ConditionInput {
  const content = facts.outcomes.find((outcome) => outcome.track === 'content');
  if (facts.readyShards < facts.desiredShards) {
    const message = facts.unreadyReasons.join('; ') || 'shards are being made';
    return { type: 'Ready', status: 'False', reason: 'ShardsNotReady', message };
  }
  if (content !== undefined && content.result.kind !== 'continue') {
    return { type: 'Ready', status: 'False', reason: content.result.reason, message: content.result.message };
  }
  // Whoever begins to write then would be disturbed at once.
  const home = facts.outcomes.find(({ step }) => step === 'first-homes');
  if (home?.result.kind === 'wait' && home.result.reason === 'GoingHome') {
    return { type: 'Ready', status: 'False', reason: 'GoingHome', message: home.result.message };
  }
  return {
    type: 'Ready',
    status: 'True',
    reason: 'AllShardsReady',
    message:
      `${facts.readyShards} of ${facts.desiredShards} shards take writes` +
      (facts.isLessDurable ? '; commits wait for no standby, since that needs 3 members' : ''),
  };
}

function progressing({ outcomes }: ConditionFacts): ConditionInput {
  const waiting = outcomes.find((outcome) => outcome.result.kind === 'wait');
  if (waiting === undefined || waiting.result.kind !== 'wait') {
    return { type: 'Progressing', status: 'False', reason: 'AsWanted', message: 'nothing is left to do' };
  }
  return {
    type: 'Progressing',
    status: 'True',
    reason: waiting.result.reason,
    message: waiting.result.message,
  };
}

function degraded(facts: ConditionFacts): ConditionInput {
  const failures = facts.outcomes.flatMap(({ result }) => (result.kind === 'fail' ? [result] : []));
  const first = failures[0];
  if (first !== undefined) {
    const message = failures.map((failure) => failure.message).join('; ');
    return { type: 'Degraded', status: 'True', reason: first.reason, message };
  }
  if (facts.refusedParameters !== undefined) {
    return {
      type: 'Degraded',
      status: 'True',
      reason: 'ParametersRefused',
      message: facts.refusedParameters,
    };
  }
  if (facts.hasLostShards) {
    return {
      type: 'Degraded',
      status: 'True',
      reason: 'ShardsNotReady',
      message: facts.unreadyReasons.join('; '),
    };
  }
  if (facts.keptStrays.length > 0) {
    const message =
      `not following the primary, nor after a restart: ${facts.keptStrays.join(', ')}. They cannot reach it, or may have rows ` +
      'that are nowhere else, so they are not copied anew by themselves: their logs say why. To have one copied, save what ' +
      'is needed of it, delete its claim, and then its pod';
    return { type: 'Degraded', status: 'True', reason: 'MembersStuck', message };
  }
  if (facts.missingMembers.length > 0) {
    const message = `not ready: ${facts.missingMembers.join(', ')}`;
    return { type: 'Degraded', status: 'True', reason: 'MembersNotReady', message };
  }
  if (facts.strays.length > 0) {
    const message =
      `up, and not following the primary: ${facts.strays.join(', ')}. If that lasts they are restarted; if that is ` +
      'no help, or the primary no longer has the WAL that they need, they are copied anew';
    return { type: 'Degraded', status: 'True', reason: 'MembersNotStreaming', message };
  }
  return { type: 'Degraded', status: 'False', reason: 'AsWanted', message: 'no member or setting is amiss' };
}

function schema({ outcomes }: ConditionFacts): ConditionInput {
  const type = 'SchemaApplied';
  const content = outcomes.find((outcome) => outcome.track === 'content');
  if (content === undefined) {
    return { type, status: 'Unknown', reason: 'NotReached', message: 'the servers are not there yet' };
  }
  if (content.result.kind === 'continue') {
    return { type, status: 'True', reason: 'Applied', message: 'every shard has all migrations and tables' };
  }
  return { type, status: 'False', reason: content.result.reason, message: content.result.message };
}

function parameters({ refusedParameters }: ConditionFacts): ConditionInput {
  const type = 'ParametersAccepted';
  if (refusedParameters === undefined) {
    return { type, status: 'True', reason: 'Accepted', message: 'no server refuses a parameter' };
  }
  const message = `${refusedParameters}. The servers go on with the last good parameters.`;
  return { type, status: 'False', reason: 'ParametersRefused', message };
}
