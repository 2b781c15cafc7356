import type { ReadReplicaSetStatus, ReplicaShardStatus } from '../../api/v1alpha1/read-replica-set.ts';
import type { ConditionInput } from '../../runtime/conditions.ts';
import { selectorText } from '../sharded-cluster/names.ts';
import { conditionsBefore, merged } from '../sharded-cluster/status.ts';
import { ofGeneration } from '../sharded-cluster/status-conditions.ts';
import type { AutoscalingStatus } from './autoscale.ts';
import type { Finding, ObservedReplicaShard, ReadReplicaSet, SetInput, SetPlan } from './model.ts';
import { readService, replicaSelector } from './names.ts';
import type { RotationDecision } from './rotation.ts';
import { effectiveSettings } from './settings.ts';
import { sizeOf } from './steps/size.ts';

/** The whole status, from zero; only transition times come from the one before. */
export function statusOf(
  input: SetInput,
  decided: SetPlan,
  autoscaling: AutoscalingStatus | undefined,
): ReadReplicaSetStatus {
  const { set, observed, now } = input;
  const { generation, name } = set.metadata;
  const wanted = observed.shards.filter(({ isWanted }) => isWanted);
  const shards = observed.shards.map((shard) => shardStatus(set.metadata.name, shard, decided));
  const members = shards.flatMap((shard) => shard.members);
  const inRotation = members.filter(({ rotation }) => rotation === 'in').length;
  const total = observed.replicas * wanted.length;
  // One that the set leaves need not be served.
  const kept = shards.filter((_, index) => observed.shards[index]?.isWanted);
  const conditions = ofGeneration(generation, conditionsOf(input, decided, kept));
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: merged(conditionsBefore(set.status), conditions, now),
    phase: phaseOf(conditions),
    ...(wanted[0] === undefined ? {} : { selector: selectorText(replicaSelector(name, wanted[0].name)) }),
    replicas: {
      desired: observed.replicas,
      current: wanted.length === 0 ? 0 : Math.min(...wanted.map(sizeOf)),
      ready: members.filter(({ ready }) => ready).length,
      inRotation,
      total,
      summary: `${inRotation}/${total}`,
    },
    shards,
    ...effective(input),
    ...(autoscaling === undefined ? {} : { autoscaling }),
  };
}

/**
 * The status as it is, with a decision that it has not got; `undefined` when it has. It is written before anything follows from
 * that: the next operator would take back what this one had begun when it ended.
 */
export function withDecision(
  { spec, status }: Pick<ReadReplicaSet, 'spec' | 'status'>,
  autoscaling: AutoscalingStatus | undefined,
): ReadReplicaSetStatus | undefined {
  // Without one before, the next operator starts from the members that are there.
  if (autoscaling === undefined || status?.autoscaling === undefined) return undefined;
  if (spec.autoscaling?.dryRun === true || autoscaling.desired === status.autoscaling.desired)
    return undefined;
  return { ...status, autoscaling };
}

function effective({ set, observed }: SetInput): Pick<ReadReplicaSetStatus, 'effective'> {
  if (observed.cluster === undefined) return {};
  const { limits, applyDelayMs, parameters } = effectiveSettings(
    set.spec,
    observed.cluster,
    observed.parameterProblems === undefined || observed.parameterProblems.length === 0,
  );
  return {
    effective: {
      maxLagBytes: limits.maxBytes,
      maxLagSeconds: limits.maxSeconds,
      applyDelaySeconds: applyDelayMs / 1_000,
      parameters: { ...parameters },
    },
  };
}

function shardStatus(set: string, shard: ObservedReplicaShard, decided: SetPlan): ReplicaShardStatus {
  const rotation = decided.rotations.get(shard.name);
  return {
    name: shard.name,
    service: readService(set, shard.name),
    servedBy: servedBy(shard, rotation?.servedBy),
    members: shard.members.map(({ name, ready, pod, rotation: present }) => {
      const decision = rotation?.members.find((member) => member.name === name);
      return {
        name,
        ready,
        rotation: decision?.rotation ?? present ?? 'out',
        ...(decision?.reason === undefined ? {} : { reason: decision.reason }),
        ...(pod?.spec?.nodeName === undefined ? {} : { node: pod.spec.nodeName }),
      };
    }),
    ...(shard.primary.state === 'unknown'
      ? {
          message:
            'the primary does not answer, so lag is judged by what was seen of it before, and nobody joins',
        }
      : {}),
  };
}

/** Whom the Service leads to: as it was decided, else as it is, since without its cluster a set goes on. */
function servedBy(
  { byPrimary, hasReadyPrimary, members }: ObservedReplicaShard,
  decided: RotationDecision['servedBy'] | undefined,
): ReplicaShardStatus['servedBy'] {
  if (decided === 'primary' || (decided === undefined && byPrimary))
    return hasReadyPrimary ? 'primary' : 'nobody';
  if (decided !== undefined) return decided;
  return members.some(({ ready, rotation }) => ready && rotation === 'in') ? 'members' : 'nobody';
}

function conditionsOf(
  { set, observed }: SetInput,
  decided: SetPlan,
  shards: readonly ReplicaShardStatus[],
): ConditionInput[] {
  const { progress, failures } = decided;
  return [
    ready(observed.replicas, failures, progress, shards),
    found('Progressing', progress, 'nothing is left to do'),
    found('Degraded', failures, 'no member or setting is amiss'),
    fresh(decided),
    ...(set.spec.distribution === 'weighted' ? [weighted(observed.weighers)] : []),
  ];
}

function weighted(weighers: readonly string[]): ConditionInput {
  const type = 'DistributionInEffect';
  if (weighers.length > 0) {
    const message = `reads through PoolerConfig ${weighers.join(', ')} go to members by weight; the Service itself leads to them in turn`;
    return { type, status: 'True', reason: 'WeightedByPooler', message };
  }
  const message =
    'weights are given by a pooler in front of the set, and there is none: its Service leads to members in turn. ' +
    'Name the set in spec.pgpool.readReplicaSets of a PoolerConfig with engine "pgpool", or choose another distribution';
  return { type, status: 'False', reason: 'NeedsPooler', message };
}

function ready(
  replicas: number,
  failures: readonly Finding[],
  progress: readonly Finding[],
  shards: readonly ReplicaShardStatus[],
): ConditionInput {
  const unserved = shards.filter(({ servedBy }) => servedBy === 'nobody').map(({ name }) => name);
  if (shards.length > 0 && unserved.length === 0) {
    return {
      type: 'Ready',
      status: 'True',
      reason: 'Serving',
      message: 'every shard can be read through the set',
    };
  }
  if (replicas === 0 && failures.length === 0) {
    return { type: 'Ready', status: 'False', reason: 'NoMembers', message: 'no members are wanted' };
  }
  const cause = failures[0] ??
    progress[0] ?? { reason: 'NobodyInRotation', message: 'no member is in rotation' };
  const where = unserved.length === 0 ? '' : `nobody serves ${unserved.join(', ')}: `;
  return { type: 'Ready', status: 'False', reason: cause.reason, message: `${where}${cause.message}` };
}

function found(type: string, findings: readonly Finding[], otherwise: string): ConditionInput {
  const [first] = findings;
  if (first === undefined) return { type, status: 'False', reason: 'AsWanted', message: otherwise };
  const message = [...new Set(findings.map((finding) => finding.message))].join('; ');
  return { type, status: 'True', reason: first.reason, message };
}

/** Fresh: nobody is kept out, or should be, for being late. */
function fresh({ rotations }: SetPlan): ConditionInput {
  const late = [...rotations.values()].flatMap(({ members }) => members.filter(({ isLate }) => isLate));
  if (late.length === 0) {
    return { type: 'Fresh', status: 'True', reason: 'WithinLimits', message: 'no member is late' };
  }
  const message = late.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
  return { type: 'Fresh', status: 'False', reason: 'MembersLate', message };
}

function phaseOf(conditions: readonly ConditionInput[]): string {
  const isTrue = (type: string) =>
    conditions.some((condition) => condition.type === type && condition.status === 'True');
  if (isTrue('Degraded')) return 'Degraded';
  if (isTrue('Progressing')) return isTrue('Ready') ? 'Scaling' : 'Creating';
  if (!isTrue('Ready')) return conditions.some(({ reason }) => reason === 'NoMembers') ? 'Empty' : 'Waiting';
  return isTrue('Fresh') ? 'Ready' : 'Late';
}
