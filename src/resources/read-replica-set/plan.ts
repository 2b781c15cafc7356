import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import { bytesOf } from '../sharded-cluster/desired/quantity.ts';
import { resourceTypeOf } from '../sharded-cluster/kinds.ts';
import { shardLabel } from '../sharded-cluster/names.ts';
import { applyOrReplace, objectsToApply } from '../sharded-cluster/steps/objects.ts';
import { wantedNames } from '../sharded-cluster/wanted-shards.ts';
import { desiredObjects } from './desired/index.ts';
import { replicaConfig } from './desired/patroni-config.ts';
import type { WorkKind } from './member-work.ts';
import type { Finding, ObservedReplicaShard, SetAction, SetInput, SetPlan } from './model.ts';
import { readableNames } from './readable-shards.ts';
import { decideRotation, type RotationDecision } from './rotation.ts';
import { type EffectiveSettings, effectiveSettings } from './settings.ts';
import { decideLosses } from './steps/losses.ts';
import { problemOf, stuckBy, unwell } from './steps/problem.ts';
import { decideRenewal } from './steps/renewal.ts';
import { decideSizes, type SizeDecision } from './steps/size.ts';
import { unsettled } from './steps/unsettled.ts';

/** Decides everything that one pass does. Pure and total: what is unknown is in `observed`, as unknown. */
export function plan(input: SetInput): SetPlan {
  const { set, observed } = input;
  const { cluster } = observed;
  if (cluster === undefined) {
    const message =
      `there is no ShardedCluster "${set.spec.cluster}" in this namespace: create it, or delete the set. ` +
      'Members that are there stay as they are';
    return {
      actions: [],
      rotations: new Map(),
      progress: [],
      failures: [{ reason: 'ClusterNotFound', message }],
    };
  }
  const settings = effectiveSettings(set.spec, cluster, observed.parameterProblems?.length === 0);
  const renewal = decideRenewal(observed.shards, durationMs(set.spec.drainGrace) ?? 0);
  const sizes = decideSizes(input, renewal.drains);
  const losses = decideLosses(input, sizes, settings.applyDelayMs);
  const rotations = new Map(
    observed.shards.map((shard) => [
      shard.name,
      rotationOf(input, shard, settings, [sizes.get(shard.name), renewal]),
    ]),
  );
  const actions = observed.shards.flatMap((shard): SetAction[] => {
    const rotation = rotations.get(shard.name);
    const size = sizes.get(shard.name);
    if (rotation === undefined || size === undefined) return [];
    return [
      ...rotate(shard, rotation),
      ...objects(input, shard, settings, size, rotation),
      ...care(input, shard, settings, rotation),
    ];
  });
  return {
    actions: [...actions, ...losses.actions, ...renewal.actions],
    rotations,
    progress: [
      ...[...sizes.values()].flatMap(({ progress }) => progress),
      ...losses.progress,
      ...renewal.progress,
      ...unsettled(input, actions),
      ...starting(input),
      ...reading(input, settings),
      ...failedWork(observed.shards),
    ],
    failures: [
      ...unknownShards(input),
      ...refusedParameters(observed.parameterProblems),
      ...[...sizes.values()].flatMap(({ failures }) => failures),
      ...losses.failures,
      ...renewal.failures,
      ...unwell(
        observed.shards.flatMap(({ members }) => members),
        input.now,
      ),
    ],
  };
}

function rotationOf(
  { set }: SetInput,
  shard: ObservedReplicaShard,
  settings: EffectiveSettings,
  reasons: readonly ({ readonly drains: ReadonlyMap<string, string> } | undefined)[],
): RotationDecision {
  const members = shard.members.map(({ name, ready, rotation, lag }) => ({
    name,
    ready,
    rotation,
    lag,
    drain: reasons.map((reason) => reason?.drains.get(name)).find((why) => why !== undefined),
  }));
  return decideRotation(members, settings.limits, set.spec.whenNoneFresh);
}

/** Labels change only where a decision did. */
function rotate(shard: ObservedReplicaShard, { members }: RotationDecision): SetAction[] {
  return members.flatMap(({ name, rotation, detail, reason }): SetAction[] => {
    const member = shard.members.find((candidate) => candidate.name === name);
    if (member?.pod === undefined || rotation === undefined || rotation === member.rotation) return [];
    if (member.pod.metadata.deletionTimestamp !== undefined) return [];
    return [{ kind: 'rotate', pod: member.pod, rotation, why: detail ?? reason ?? 'it is fresh' }];
  });
}

function objects(
  { set, observed, settings: { postgresImage } }: SetInput,
  shard: ObservedReplicaShard,
  { parameters }: EffectiveSettings,
  { members }: SizeDecision,
  { servedBy }: RotationDecision,
): SetAction[] {
  const { cluster } = observed;
  if (cluster === undefined) return [];
  if (!shard.isWanted && members === 0 && shard.members.length === 0)
    return removeObjects(observed.objects, shard);
  const wanted = desiredObjects(set, cluster, shard.name, {
    image: cluster.spec.postgres.image ?? postgresImage,
    members: members ?? 0,
    parameters,
    upstream: chooseUpstream(set.spec.source, shard),
    byPrimary: servedBy === 'primary',
  })
    .filter((object) => members !== undefined || object.kind !== 'StatefulSet')
    .filter((object) => object.kind !== 'ConfigMap' || isConfigSure(observed));
  return [
    ...objectsToApply(wanted, observed.objects).map((object) => applyOrReplace(object, shard.statefulSet)),
    ...growVolumes(shard, (set.spec.storage ?? cluster.spec.storage).size),
  ];
}

/** Until a server has judged the parameters, members keep those that they have. */
function isConfigSure({ parameterProblems }: SetInput['observed']): boolean {
  return parameterProblems !== undefined;
}

/** The standby that is followed stays while it streams; another is chosen only then. */
function chooseUpstream(
  source: SetInput['set']['spec']['source'],
  shard: ObservedReplicaShard,
): string | undefined {
  if (source !== 'standby') return undefined;
  const { upstream, standbys, primary } = shard;
  // While nobody says who streams, nothing is changed.
  if (standbys === undefined) return upstream;
  if (upstream !== undefined && (standbys.includes(upstream) || primary.state !== 'present')) return upstream;
  return standbys.toSorted()[0];
}

function growVolumes(shard: ObservedReplicaShard, size: string): SetAction[] {
  return shard.claims
    .filter((claim) => bytesOf(claim.spec?.resources?.requests?.storage ?? size) < bytesOf(size))
    .map((claim) => ({ kind: 'resize-claim', claim, size }));
}

/** The StatefulSet goes last, since the set is known by it in the shard. */
function removeObjects(present: SetInput['observed']['objects'], shard: ObservedReplicaShard): SetAction[] {
  const evidence = 'the set is no longer in this shard, and has no member in it; its volumes stay';
  const remove = (object: KubernetesObject): SetAction => ({
    kind: 'delete',
    type: resourceTypeOf(object),
    object,
    uid: object.metadata.uid ?? '',
    evidence,
  });
  const ofShard = [...present.values()].filter(
    ({ metadata }) =>
      metadata.labels?.[shardLabel] === shard.name && metadata.deletionTimestamp === undefined,
  );
  const rest = ofShard.filter((object) => object.kind !== 'StatefulSet');
  return rest.length > 0 ? rest.map(remove) : ofShard.map(remove);
}

/** What running members need: a new configuration or certificate read, sessions on old data ended. */
function care(
  { set, observed }: SetInput,
  shard: ObservedReplicaShard,
  { parameters, limits }: EffectiveSettings,
  { members }: RotationDecision,
): SetAction[] {
  const behind = behindConfig({ set, observed }, shard, parameters);
  const graceMs = durationMs(set.spec.drainGrace) ?? 0;
  return shard.members.flatMap((member): SetAction[] => {
    const { name, stats } = member;
    const target = { shard: shard.name, member: name };
    const rotation = members.find((candidate) => candidate.name === name)?.rotation;
    const { bytes = 0, seconds = 0 } = member.lag ?? {};
    const isLate = rotation === 'out' && (bytes >= limits.maxBytes || seconds >= limits.maxSeconds);
    const wanted: Extract<SetAction, { readonly kind: WorkKind }>[] = [
      ...(behind.includes(name) || member.hasStaleCertificate
        ? [{ kind: 'reload' as const, ...target }]
        : []),
      ...(isLate && stats.state === 'present' && stats.value.connections > 0
        ? [{ kind: 'end-sessions' as const, ...target, outMs: member.outMs, graceMs }]
        : []),
    ];
    return wanted.filter(({ kind }) => !member.work.has(kind));
  });
}

/** Members that run with another configuration than they shall have, by name. */
function behindConfig(
  { set, observed }: Pick<SetInput, 'set' | 'observed'>,
  shard: ObservedReplicaShard,
  parameters: EffectiveSettings['parameters'],
): readonly string[] {
  const { cluster } = observed;
  if (cluster === undefined || !isConfigSure(observed)) return [];
  const upstream = chooseUpstream(set.spec.source, shard);
  const { mark } = replicaConfig(set, cluster, shard.name, { parameters, upstream });
  return shard.members.flatMap(({ name, stats }) =>
    stats.state === 'present' && stats.value.config !== mark ? [name] : [],
  );
}

function reading(input: SetInput, { parameters }: EffectiveSettings): Finding[] {
  const names = input.observed.shards.flatMap((shard) => behindConfig(input, shard, parameters));
  if (names.length === 0) return [];
  const message = `members read their configuration again: ${names.join(', ')}`;
  return [{ reason: 'ReadingConfiguration', message }];
}

function unknownShards({ set, observed }: SetInput): Finding[] {
  const { cluster } = observed;
  if (cluster === undefined) return [];
  // One that is still being made is not missing.
  const readable = readableNames(cluster);
  const missing = (set.spec.shards ?? []).filter((name) => !readable.includes(name));
  if (missing.length === 0) return [];
  return [
    {
      reason: 'ShardNotFound',
      message: `ShardedCluster "${set.spec.cluster}" has no shard ${missing.join(', ')}: name one of ${wantedNames(cluster).join(', ')} in spec.shards, or raise its number of shards`,
    },
  ];
}

function refusedParameters(problems: readonly string[] | undefined): Finding[] {
  if (problems === undefined || problems.length === 0) return [];
  return [
    { reason: 'ParametersRefused', message: `${problems.join('; ')}. Members go on without spec.parameters` },
  ];
}

function starting({ observed, now }: SetInput): Finding[] {
  const unready = observed.shards.flatMap(({ members, statefulSet }) =>
    members
      .filter((member) => !member.ready && (stuckBy(member, now) ?? problemOf(member, now)) === undefined)
      .map(({ name, ordinal }) => ({ name, isMeant: ordinal < (statefulSet?.spec?.replicas ?? 0) })),
  );
  const named = (isMeant: boolean) =>
    unready.filter((member) => member.isMeant === isMeant).map(({ name }) => name);
  const [coming, going] = [named(true), named(false)].map((names) => names.join(', '));
  return [
    ...(coming === ''
      ? []
      : [{ reason: 'MembersStarting', message: `members are copied or start: ${coming}` }]),
    ...(going === ''
      ? []
      : [{ reason: 'RemovingMembers', message: `members end when their queries have: ${going}` }]),
  ];
}

/** What was begun on members and did not succeed; it is tried again. */
export function failedWork(shards: readonly ObservedReplicaShard[]): Finding[] {
  return shards.flatMap(({ members }) =>
    members.flatMap(({ name, work }) =>
      [...work.values()].flatMap((done): Finding[] =>
        done.state === 'failed' ? [{ reason: 'Retrying', message: `member ${name}: ${done.message}` }] : [],
      ),
    ),
  );
}
