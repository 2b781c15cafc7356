import { durationMs } from '../../../api/v1alpha1/duration.ts';
import { resourceTypeOf } from '../../sharded-cluster/kinds.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import { objectsToApply } from '../../sharded-cluster/steps/objects.ts';
import { writes } from '../delivery.ts';
import { pgpoolObjects, slotsAnnotation, startAnnotation } from '../desired/pgpool-objects.ts';
import { type PgpoolSpec, pgpoolFiles } from '../desired/pgpool-settings.ts';
import type { Action, Observed, ObservedInstance, PlanInput, Result } from '../model.ts';
import { revisionAnnotation } from '../names.ts';
import type { Plan } from '../plan.ts';
import type { ServerLimits } from '../sizing.ts';
import { fail, type Step, stop, wait } from '../step.ts';
import { type Backend, backendsOf, type ReadSet, slotsOf, slotsProblem } from './backends.ts';
import { identityOf } from './identity.ts';
import { pgpoolParameterProblem } from './parameters.ts';
import { pgpoolRenewals } from './renewal.ts';
import { sizePgpool } from './sizing.ts';

/** What a pass decided, with the servers that instances shall know. */
export interface PgpoolPlan extends Plan {
  readonly backends: readonly Backend[] | undefined;
}

/**
 * What is next for a PoolerConfig with Pgpool-II. With a spec that cannot be carried out nothing but certificates is touched, so
 * running instances go on with what they have.
 */
export function planPgpool(input: PlanInput): PgpoolPlan {
  const { pooler, observed } = input;
  const scaling = { replicas: pooler.spec.replicas, reason: undefined, enoughSince: undefined };
  const stopped = (
    result: Result,
    actions: readonly Action[] = [],
    more: Partial<PgpoolPlan> = {},
  ): PgpoolPlan => ({
    scaling,
    sizing: undefined,
    revision: undefined,
    backends: undefined,
    ...more,
    actions,
    result,
  });
  const refused = (result: Result, more: Partial<PgpoolPlan> = {}): PgpoolPlan =>
    stopped(result, pgpoolRenewals(input), more);
  const { pgpool } = pooler.spec;
  if (pgpool === undefined)
    return refused(fail('SpecIncomplete', 'engine "pgpool" needs spec.pgpool: write it'));
  const problem = pgpoolParameterProblem(pgpool.parameters);
  if (problem !== undefined) return refused(fail('InvalidParameter', problem));
  const target = targetOf(input, pgpool);
  if ('stop' in target) return refused(target.stop);
  const { cluster, shard, limits, sets } = target.value;
  const slots = slotsOf(sets, shard, slotsBefore(observed));
  const tooMany = slotsProblem(slots);
  if (tooMany !== undefined) return refused(fail('TooManyBackends', tooMany));
  const { database } = cluster.spec.postgres;
  const instances = Math.max(scaling.replicas, ...observed.instances.map(({ ordinal }) => ordinal + 1));
  const sizing = sizePgpool({
    spec: pooler.spec,
    database,
    shard,
    limits,
    instances,
    ...observed.sharing,
    held: pooler.status?.sizing?.total ?? 0,
  });
  if (sizing.kind === 'waiting') return refused(wait('ShareTaken', sizing.message, 2_000));
  if (sizing.kind === 'refused') return refused(fail('PoolsDoNotFit', sizing.message));
  const backends = backendsOf({
    cluster: cluster.metadata.name,
    shard,
    primaryWeight: pgpool.primaryWeight,
    sets,
    slots,
  });
  const identity = identityOf(input, pgpool);
  if ('stop' in identity)
    return identity.stop.kind === 'fail'
      ? refused(identity.stop, { sizing, backends })
      : stopped(identity.stop, identity.actions, { sizing, backends });

  const { files, revision, start } = pgpoolFiles({
    spec: pooler.spec,
    pgpool,
    database,
    backends,
    clients: sizing.databases[0]?.poolSize ?? 1,
    ...identity.value,
  });
  const known = { sizing, backends, revision };
  const written = writes(input, { ...identity.value.certificates, ...files });
  if (written.length > 0)
    return stopped(wait('SettingsPending', 'settings are being written', 0), written, known);

  const old = observed.instances.filter((instance) => startOf(instance) !== start);
  // Instances that are there serve fewer clients before others come to share the servers with them.
  const current = observed.statefulSet?.spec?.replicas ?? scaling.replicas;
  const replicas = old.length > 0 ? Math.min(scaling.replicas, current) : scaling.replicas;
  const image = pooler.spec.image ?? input.settings.postgresImage;
  const imagePullSecrets = pooler.spec.imagePullSecrets ?? cluster.spec.imagePullSecrets;
  const wanted = pgpoolObjects(pooler, { image, imagePullSecrets, replicas, start, slots });
  const applies = objectsToApply(wanted, observed.objects).map(
    (object): Action => ({ kind: 'apply', type: resourceTypeOf(object), object }),
  );
  const behind = observed.instances.filter(
    (instance) => startOf(instance) === start && isBehind(instance, revision),
  );
  const deliveries = behind.flatMap(({ pod }): Action[] =>
    pod.metadata.annotations?.[revisionAnnotation] === revision
      ? []
      : [{ kind: 'deliver', pod: pod.metadata.name, revision }],
  );
  return stopped(
    progressOf(input, { applies: applies.length, old: old.length, behind: behind.length }),
    [...applies, ...deliveries],
    known,
  );
}

interface Target {
  readonly cluster: ShardedCluster;
  readonly shard: string;
  readonly limits: ServerLimits;
  readonly sets: readonly ReadSet[];
}

function targetOf(input: PlanInput, pgpool: PgpoolSpec): Step<Target> {
  const { pooler, observed } = input;
  const { cluster: name } = pooler.spec.target;
  const { cluster, targets } = observed;
  if (cluster === undefined)
    return stop(
      fail(
        'TargetNotFound',
        `there is no ShardedCluster "${name}" in namespace "${pooler.metadata.namespace}": create it, or make a PoolerConfig with another spec.target.cluster`,
      ),
    );
  if (targets.length === 0)
    return stop(wait('TargetNotReady', `ShardedCluster "${name}" has no shard yet`, 2_000));
  const shard = shardOf(input, pgpool);
  if ('stop' in shard) return shard;
  const sets = setsOf(input, pgpool, shard.value);
  if ('stop' in sets) return sets;
  const limits = targets.find((target) => target.shard === shard.value)?.limits;
  if (limits?.state !== 'present')
    return stop(wait('ShardUnknown', `shard ${shard.value} does not answer: its clients are kept`, 2_000));
  return { value: { cluster, shard: shard.value, limits: limits.value, sets: sets.value } };
}

/** Instances stand in front of one shard. Those that did when it was the only one stay there when another comes. */
function shardOf({ pooler, observed }: PlanInput, pgpool: PgpoolSpec): Step<string> {
  const shards = observed.targets.map((target) => target.shard);
  const before = pooler.status?.databases?.[0]?.shard;
  const wanted = pgpool.shard ?? (before !== undefined && shards.includes(before) ? before : undefined);
  const [only, ...others] = shards;
  const names = shards.join(', ');
  if (wanted === undefined && only !== undefined && others.length === 0) return { value: only };
  if (wanted === undefined)
    return stop(
      fail(
        'ShardNotNamed',
        `ShardedCluster "${pooler.spec.target.cluster}" has the shards ${names}, and Pgpool-II stands in front of one: write one of them as spec.pgpool.shard, and make a PoolerConfig for each of the others`,
      ),
    );
  if (!shards.includes(wanted))
    return stop(
      fail(
        'ShardNotFound',
        `spec.pgpool.shard is "${wanted}", and there is only ${names}: write one of these`,
      ),
    );
  return { value: wanted };
}

function setsOf({ pooler, observed }: PlanInput, pgpool: PgpoolSpec, shard: string): Step<ReadSet[]> {
  const sets: ReadSet[] = [];
  for (const { name, weight } of pgpool.readReplicaSets) {
    const set = observed.sets.find((candidate) => candidate.metadata.name === name);
    if (set === undefined)
      return stop(
        fail(
          'TargetNotFound',
          `there is no ReadReplicaSet "${name}": create it, or remove it from spec.pgpool.readReplicaSets`,
        ),
      );
    const problem = setProblem(set, pooler.spec.target.cluster, shard);
    if (problem !== undefined) return stop(fail('TargetUnfit', `ReadReplicaSet "${name}" ${problem}`));
    sets.push({ set, weight });
  }
  return { value: sets };
}

function setProblem({ spec }: ReadSet['set'], cluster: string, shard: string): string | undefined {
  if (spec.mode === 'logical')
    return 'is a read model of its own, which is no copy of a shard: name a physical set';
  if (spec.cluster !== cluster)
    return `belongs to ShardedCluster "${spec.cluster}", not to "${cluster}": name a set of that cluster`;
  if (spec.shards?.includes(shard) === false)
    return `has no members in shard ${shard}: add it to its spec.shards, or name another set`;
  if (spec.source !== 'primary')
    return `streams from "${spec.source}", and the primary alone tells Pgpool-II of lag: set its spec.source to "primary", or name another set`;
  if (spec.workload === 'delayed' || (durationMs(spec.applyDelay ?? '0s') ?? 0) > 0)
    return 'shows the past on purpose, which no split of reads may do: name another set';
  return undefined;
}

function slotsBefore({ statefulSet }: Observed): Record<string, number> {
  const text = statefulSet?.metadata.annotations?.[slotsAnnotation];
  try {
    return text === undefined ? {} : JSON.parse(text);
  } catch {
    return {};
  }
}

function startOf({ pod }: ObservedInstance): string | undefined {
  return pod.metadata.annotations?.[startAnnotation];
}

/** One that does not answer is taken at the word of what was delivered to it. */
function isBehind({ pod, facts }: ObservedInstance, revision: string): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  return facts.state === 'present'
    ? facts.value.revision !== revision
    : pod.metadata.annotations?.[revisionAnnotation] !== revision && pod.status?.phase === 'Running';
}

function progressOf(
  { pooler, observed }: PlanInput,
  { applies, old, behind }: { readonly applies: number; readonly old: number; readonly behind: number },
): Result {
  const { replicas } = pooler.spec;
  if (applies > 0) return wait('Applying', `objects of "${pooler.metadata.name}" are being applied`, 0);
  const ready = observed.instances.filter((instance) => instance.ready).length;
  if (old > 0) return wait('Updating', 'instances are being replaced one by one', 2_000);
  if (ready < replicas)
    return wait('InstancesNotReady', `${ready} of ${replicas} instances are ready`, 2_000);
  const leaving = observed.instances.length - replicas;
  if (leaving > 0) return wait('Draining', `${leaving} instances wait for their clients to leave`, 2_000);
  if (behind > 0) return wait('SettingsPending', `${behind} instances are taking over new settings`, 1_000);
  const { updateRevision, currentRevision } = observed.statefulSet?.status ?? {};
  if (updateRevision !== currentRevision)
    return wait('Updating', 'instances are being replaced one by one', 2_000);
  return { kind: 'ready' };
}
