import { durationMs } from '../../../api/v1alpha1/duration.ts';
import { needsRenewal } from '../../../pki/renewal.ts';
import { acceptedAuthority } from '../../../pki/rotation.ts';
import { bytesOf } from '../../sharded-cluster/desired/quantity.ts';
import { authorityOf, pairOf } from '../../sharded-cluster/desired/tls-secrets.ts';
import type { Observed, Settings, ShardedCluster } from '../../sharded-cluster/model.ts';
import { authoritySecret } from '../../sharded-cluster/names.ts';
import { contentOf } from '../../sharded-cluster/steps/identity.ts';
import { applyOrReplace, objectsToApply } from '../../sharded-cluster/steps/objects.ts';
import type { Finding, ReadReplicaSet, SetAction, SetInput, SetPlan, TakenByOthers } from '../model.ts';
import { replicasName } from '../names.ts';
import { decideRotation, type RotationDecision } from '../rotation.ts';
import { effectiveSettings } from '../settings.ts';
import { unwell } from '../steps/problem.ts';
import { decideRenewal } from '../steps/renewal.ts';
import { decideSizes } from '../steps/size.ts';
import { unsettled } from '../steps/unsettled.ts';
import { modelCapacity } from './capacity.ts';
import { modelObjects } from './desired/objects.ts';
import type { ModelMember, ModelStep, ModelWorld } from './model.ts';
import { modelPart, modelServerNames, modelTlsSecret } from './names.ts';
import { nextStep } from './next-step.ts';
import { endStale } from './stale-sessions.ts';

/** What a pass over a read model is planned from. */
export interface ModelInput {
  readonly set: ReadReplicaSet;
  readonly cluster: ShardedCluster;
  /** The pods and objects, as of a physical set with one part. */
  readonly part: SetInput['observed'];
  readonly members: readonly ModelMember[];
  /** By shard. */
  readonly takenByOthers: ReadonlyMap<string, TakenByOthers>;
  readonly world: Omit<ModelWorld, 'copying' | 'othersServe' | 'isLast'>;
  readonly secrets: Observed['secrets'];
  readonly settings: Settings;
  readonly now: Date;
}

/** What one pass over a read model decided. */
export interface ModelPlan {
  readonly plan: SetPlan;
  readonly steps: ReadonlyMap<string, ModelStep>;
  /** Whether a certificate has to be issued. */
  readonly issues: boolean;
}

/** Decides on objects, rotation and the next step of every member: pure and total. */
export function planModel(input: ModelInput): ModelPlan {
  const { set, cluster, part, settings, now, members } = input;
  const shard = part.shards[0];
  if (shard === undefined) throw new TypeError('a read model has one part');
  const setInput: SetInput = { set, observed: part, settings, now };
  const effective = effectiveSettings(set.spec, cluster, part.parameterProblems?.length === 0);
  const graceMs = durationMs(set.spec.drainGrace) ?? 0;
  const renewal = decideRenewal(part.shards, graceMs);
  const size = decideSizes(setInput, renewal.drains, () => modelCapacity(input)).get(modelPart);
  const drains = new Map([...(size?.drains ?? []), ...renewal.drains]);
  const rotation = decideRotation(
    members.map(({ replica, facts }) => ({
      name: replica.name,
      // One that is copied again, or for the first time, has not what the set has.
      ready: replica.ready && (facts.state !== 'present' || facts.value.copy?.live === true),
      rotation: replica.rotation,
      drain: drains.get(replica.name),
      lag: replica.lag,
    })),
    effective.limits,
    set.spec.whenNoneFresh,
  );
  const objects = modelObjects(set, cluster, {
    image: cluster.spec.postgres.image ?? settings.postgresImage,
    members: size?.members,
    parameters: effective.parameters,
  }).filter(({ kind }) => kind !== 'ConfigMap' || part.parameterProblems !== undefined);
  const storage = (set.spec.storage ?? cluster.spec.storage).size;
  const actions: SetAction[] = [
    ...rotationActions(members, rotation),
    ...objectsToApply(objects, part.objects).map((object) => applyOrReplace(object, shard.statefulSet)),
    ...shard.claims
      .filter((claim) => bytesOf(claim.spec?.resources?.requests?.storage ?? storage) < bytesOf(storage))
      .map((claim): SetAction => ({ kind: 'resize-claim', claim, size: storage })),
    ...endStale(members, rotation, effective.limits, graceMs),
    ...renewal.actions,
  ];
  const steps = stepsOf(input);
  const found = findingsOf(steps);
  return {
    steps,
    issues: needsCertificate(input),
    plan: {
      actions,
      rotations: new Map([[modelPart, rotation]]),
      progress: [
        ...(size?.progress ?? []),
        ...renewal.progress,
        ...unsettled(setInput, actions),
        ...found.progress,
      ],
      failures: [
        ...refusedParameters(part.parameterProblems),
        ...(size?.failures ?? []),
        ...renewal.failures,
        ...unwell(shard.members, now),
        ...found.failures,
      ],
    },
  };
}

function rotationActions(members: readonly ModelMember[], decision: RotationDecision): SetAction[] {
  return decision.members.flatMap(({ name, rotation, reason, detail }): SetAction[] => {
    const replica = members.find((member) => member.replica.name === name)?.replica;
    if (replica?.pod === undefined || rotation === undefined || rotation === replica.rotation) return [];
    return [{ kind: 'rotate', pod: replica.pod, rotation, why: detail ?? reason ?? 'it is fresh' }];
  });
}

/** One member after the other, since what one does is counted for the next. */
function stepsOf({ members, world }: ModelInput): Map<string, ModelStep> {
  const steps = new Map<string, ModelStep>();
  const namesOf = (holds: (member: ModelMember) => boolean) =>
    new Set(members.filter(holds).map(({ replica }) => replica.name));
  const copying = namesOf(({ facts }) => facts.state === 'present' && facts.value.copy?.live === false);
  const serving = namesOf(({ facts }) => facts.state === 'present' && facts.value.copy?.live === true);
  for (const member of members) {
    const { name } = member.replica;
    const others = members.flatMap(({ replica }) => (replica.name === name ? [] : [replica.name]));
    const step = nextStep(
      {
        ...world,
        copying: others.filter((other) => copying.has(other)).length,
        othersServe: others.every((other) => serving.has(other)),
        isLast: others.length > 0 && !others.some((other) => serving.has(other)),
      },
      member,
    );
    if (step.kind === 'begin' || step.kind === 'reset') copying.add(name);
    if (step.kind === 'reset') serving.delete(name);
    steps.set(name, step);
  }
  return steps;
}

function findingsOf(steps: ReadonlyMap<string, ModelStep>): { progress: Finding[]; failures: Finding[] } {
  const progress: Finding[] = [];
  const failures: Finding[] = [];
  for (const [name, step] of steps) {
    if (step.kind === 'none') continue;
    if (step.kind === 'fail')
      failures.push({ reason: step.reason, message: `member ${name}: ${step.message}` });
    else if (step.kind === 'wait')
      progress.push({ reason: step.reason, message: `member ${name}: ${step.message}` });
    else progress.push({ reason: 'Working', message: `member ${name}: ${describeStep(step)}` });
  }
  return { progress, failures };
}

/** A step in words. */
export function describeStep(step: ModelStep): string {
  switch (step.kind) {
    case 'set-up':
      return 'roles and database are made';
    case 'reset':
      return `it is copied anew: ${step.reason}`;
    case 'migrate':
      return `migration "${step.migration.name}" is applied`;
    case 'begin':
      return 'the copy begins';
    case 'follow':
      return `it begins to follow shard ${step.shard}`;
    case 'unfollow':
      return `it no longer follows shard ${step.shard}`;
    case 'redirect':
      return `it follows the primary of shard ${step.shard} again`;
    case 'go-live':
      return 'all tables are copied';
    case 'wait':
    case 'fail':
      return step.message;
    case 'none':
      return 'nothing is left to do';
  }
}

function refusedParameters(problems: readonly string[] | undefined): Finding[] {
  return problems === undefined || problems.length === 0
    ? []
    : [
        {
          reason: 'ParametersRefused',
          message: `${problems.join('; ')}. Members go on without spec.parameters`,
        },
      ];
}

function needsCertificate({ set, secrets, now }: ModelInput): boolean {
  const { name, namespace } = set.metadata;
  const authorityReading = secrets.get(authoritySecret(set.spec.cluster));
  const authority = authorityOf(contentOf(authorityReading) ?? {});
  const reading = secrets.get(modelTlsSecret(name));
  // What could not be read may be there.
  if (authority === undefined || reading === undefined || reading.state === 'unknown') return false;
  const content = contentOf(reading) ?? {};
  const server = pairOf(content, 'tls');
  if (server === undefined || content['ca.crt'] !== authority.bundle) return true;
  const reason = needsRenewal(server, {
    commonName: replicasName(name, modelPart),
    dnsNames: modelServerNames(name, namespace),
    authority: acceptedAuthority(authority, server.certificate, now),
    now,
  });
  return reason !== undefined;
}
