import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import { configPatch, dynamicConfig } from '../desired/dynamic-config.ts';
import { desiredObjects } from '../desired/index.ts';
import { serverParameters } from '../desired/parameters.ts';
import { bytesOf } from '../desired/quantity.ts';
import { resourceTypeOf } from '../kinds.ts';
import { podProblem, type StatefulSet } from '../kubernetes.ts';
import { type Action, type ObservedShard, type PlanInput, proceed, type StepResult } from '../model.ts';
import { defaultImageAnnotation } from '../names.ts';
import { wantedNames } from '../wanted-shards.ts';
import { decideMembers, type MembersDecision } from './members.ts';
import { appliedAnnotation, applyOrReplace, isScaledByHand, objectId, objectsToApply } from './objects.ts';
import type { Parameters } from './parameters.ts';
import { wait } from './result.ts';
import { decideRollout, type RolloutDecision } from './rollout.ts';

/** A cluster keeps the default image that it was made with: another operator with another default restarts no pod. */
function defaultImageOf({ observed, settings }: PlanInput): string {
  for (const { statefulSet } of observed.shards) {
    const image = statefulSet?.metadata.annotations?.[defaultImageAnnotation];
    if (image !== undefined) return image;
  }
  return settings.postgresImage;
}

function withDefaultImage(image: string): (object: KubernetesObject) => KubernetesObject {
  return (object) => {
    if (object.kind !== 'StatefulSet') return object;
    const annotations = { ...object.metadata.annotations, [defaultImageAnnotation]: image };
    return { ...object, metadata: { ...object.metadata, annotations } };
  };
}

/** Every object of every shard, applied only where it is missing or wanted otherwise than it was applied last. */
export function objects(input: PlanInput): StepResult {
  const { cluster, observed } = input;
  const defaultImage = defaultImageOf(input);
  const image = cluster.spec.postgres.image ?? defaultImage;
  // A new shard starts with what Herdsman is sure of; the user's own parameters are checked on a running server first.
  const parameters = serverParameters(cluster.spec, {});
  const actions: Action[] = [];
  const waits: MembersDecision[] = [];
  for (const shard of observed.shards) {
    const members = decideMembers(shard, cluster.spec.members);
    if (members.kind !== 'replicas') waits.push(members);
    if (members.kind === 'switchover') {
      actions.push({
        kind: 'switchover',
        shard: shard.name,
        leader: members.leader,
        candidate: members.candidate,
      });
    }
    const wanted = desiredObjects(cluster, shard.index, { image, members: members.replicas, parameters });
    for (const object of objectsToApply(wanted.map(withDefaultImage(defaultImage)), observed.objects)) {
      actions.push(applyOrReplace(object, shard.statefulSet), ...whatSomebodyDid(object, input, shard));
    }
  }
  const waiting = waits[0];
  if (waiting === undefined) return { kind: 'continue', actions };
  if (waiting.kind === 'wait') {
    return { kind: 'wait', reason: waiting.reason, message: waiting.message, afterMs: 2_000, actions };
  }
  return {
    kind: 'wait',
    reason: 'Switchover',
    message: 'the primary is about to be taken away',
    afterMs: 500,
    actions,
  };
}

/** Word of a StatefulSet that somebody has scaled or taken away, and that is put back. */
function whatSomebodyDid(wanted: KubernetesObject, { observed }: PlanInput, shard: ObservedShard): Action[] {
  if (wanted.kind !== 'StatefulSet') return [];
  const { name } = wanted.metadata;
  const tell = (note: string): Action[] => [{ kind: 'event', type: 'Warning', reason: 'PutBack', note }];
  const live = observed.objects.get(objectId(wanted));
  if (live === undefined) {
    const holdsData = shard.claims.some((claim) => claim.status?.phase === 'Bound');
    return holdsData
      ? tell(`StatefulSet ${name} is made again on the volumes that shard ${shard.name} has`)
      : [];
  }
  const isSame =
    live.metadata.annotations?.[appliedAnnotation] === wanted.metadata.annotations?.[appliedAnnotation];
  if (!isSame || !isScaledByHand(wanted, live)) return [];
  return tell(
    `StatefulSet ${name} had been scaled to ${(live as StatefulSet).spec?.replicas}, and is scaled back to ` +
      `${(wanted as StatefulSet).spec?.replicas}: change spec.members or spec.shards.count of the ShardedCluster instead`,
  );
}

/** Lets another member initialise a shard whose first attempt was cut off, or of which no data are left. */
export function bootstrap({ observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap(({ name, abandonedClaim: claim }): Action[] =>
    claim === undefined ? [] : [{ kind: 'clear-claim', shard: name, claim }],
  );
  return actions.length === 0 ? proceed : { kind: 'continue', actions };
}

/** Members that still serve an old certificate read the new one, without a restart. */
export function renewals({ observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap((shard) =>
    shard.staleCertificates.map((member): Action => ({ kind: 'reload', shard: shard.name, member })),
  );
  return actions.length === 0 ? proceed : { kind: 'continue', actions };
}

/** Volumes that are smaller than wanted are asked to grow. */
export function volumes({ cluster, observed }: PlanInput): StepResult {
  const { size } = cluster.spec.storage;
  const actions = observed.shards.flatMap((shard) =>
    shard.claims
      .filter((claim) => bytesOf(claim.spec?.resources?.requests?.storage ?? size) < bytesOf(size))
      .map((claim): Action => ({ kind: 'resize-claim', claim, size })),
  );
  return actions.length === 0 ? proceed : { kind: 'continue', actions };
}

/** Patroni's dynamic configuration on every shard that has one. */
export function configuration({ cluster, observed }: PlanInput, parameters: Parameters): StepResult {
  const desired = dynamicConfig(cluster.spec, serverParameters(cluster.spec, parameters));
  const actions = observed.shards.flatMap((shard): Action[] => {
    if (shard.config.state !== 'present') return [];
    const patch = configPatch(shard.config.value, desired);
    return patch === undefined ? [] : [{ kind: 'patch-config', shard: shard.name, patch }];
  });
  if (actions.length === 0) return proceed;
  return {
    kind: 'wait',
    reason: 'Configuring',
    message: 'parameters are being handed out',
    afterMs: 1_500,
    actions,
  };
}

/** Restarts and switchovers come when nothing is under way that they would cut off. */
export function longWork({ observed: { underWay } }: PlanInput): StepResult {
  return underWay === undefined ? proceed : wait('Migrating', `${underWay} is under way`, 1_000);
}

/** Whether a shard's dynamic configuration is what the spec and these parameters of the user make it. */
export function hasParameters(input: PlanInput, shard: ObservedShard, parameters: Parameters): boolean {
  if (shard.config.state !== 'present') return false;
  const { spec } = input.cluster;
  return (
    configPatch(shard.config.value, dynamicConfig(spec, serverParameters(spec, parameters))) === undefined
  );
}

/** Renews members whose template or parameters changed, one shard at a time. */
export function rollout({ cluster, observed }: PlanInput): StepResult {
  const wanted = wantedNames(cluster);
  for (const shard of observed.shards) {
    const decision = decideRollout(shard);
    const others = observed.shards.filter((other) => other !== shard && wanted.includes(other.name));
    const unwell = takesDown(decision) ? firstRenewedUnwell(others) : undefined;
    if (unwell !== undefined) return unwell;
    switch (decision.kind) {
      case 'none':
        continue;
      case 'wait':
        return {
          kind: 'wait',
          reason: decision.reason,
          message: `shard ${shard.name}: ${decision.message}`,
          afterMs: 2_000,
        };
      case 'stuck':
        return { kind: 'fail', reason: decision.reason, message: `shard ${shard.name}: ${decision.message}` };
      case 'replace': {
        const { pod, name } = decision.member;
        if (pod === undefined) continue;
        return renewing(shard.name, `member ${name} is replaced: ${decision.why}`, {
          kind: 'delete',
          type: resourceTypeOf(pod),
          object: pod,
          uid: pod.metadata.uid ?? '',
          evidence: decision.why,
        });
      }
      case 'restart':
        return renewing(shard.name, `member ${decision.member} is restarted: ${decision.why}`, {
          kind: 'restart',
          shard: shard.name,
          member: decision.member,
        });
      case 'switchover':
        return renewing(
          shard.name,
          `switchover from ${decision.leader} to ${decision.candidate}: ${decision.why}`,
          {
            kind: 'switchover',
            shard: shard.name,
            leader: decision.leader,
            candidate: decision.candidate,
          },
        );
    }
  }
  return proceed;
}

/** Whether a member that serves will be away for a moment. */
function takesDown(decision: RolloutDecision): boolean {
  if (decision.kind === 'replace') return decision.member.ready;
  return decision.kind === 'restart' || decision.kind === 'switchover';
}

/** A renewed member that is not up keeps other shards from the same: what ails it would take them down as well. */
function firstRenewedUnwell(shards: readonly ObservedShard[]): StepResult | undefined {
  for (const shard of shards) {
    const member = shard.members.find((candidate) => !candidate.outdated && !candidate.ready);
    if (member === undefined) continue;
    const problem = member.pod === undefined ? undefined : podProblem(member.pod);
    const where = `shard ${shard.name}: member ${member.name}`;
    if (problem !== undefined)
      return { kind: 'fail', reason: problem.reason, message: `${where}: ${problem.message}` };
    return {
      kind: 'wait',
      reason: 'MemberNotReady',
      message: `${where} is not ready yet, and other shards wait for it`,
      afterMs: 2_000,
    };
  }
  return undefined;
}

function renewing(shard: string, message: string, action: Action): StepResult {
  return {
    kind: 'wait',
    reason: 'RollingOut',
    message: `shard ${shard}: ${message}`,
    afterMs: 1_000,
    actions: [action],
  };
}
