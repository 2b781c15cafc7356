import { keyOf } from '../../runtime/kubernetes-object.ts';
import { resourceTypeOf } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { objectsToApply } from '../sharded-cluster/steps/objects.ts';
import { decideReplicas, type ScalingDecision } from './autoscaling.ts';
import { databasesOf, longestDatabaseName, type PoolerDatabase } from './databases.ts';
import { deliveries, isAnyHeld, renewals, runsWithout, writes } from './delivery.ts';
import { poolerObjects } from './desired/objects.ts';
import { settingsFiles } from './desired/settings.ts';
import { identityOf } from './identity.ts';
import { oversizedDatabases } from './instance-facts.ts';
import { loadsOf } from './loads.ts';
import type {
  Action,
  InstanceFacts,
  Observed,
  ObservedInstance,
  PlanInput,
  PoolerConfig,
  Result,
} from './model.ts';
import { parameterProblem } from './parameters.ts';
import type { Backend } from './pgpool/backends.ts';
import { movedTargets } from './served-by-others.ts';
import { type DatabaseSize, type Sizing, sizePools } from './sizing.ts';
import { fail, type Step, stop, wait } from './step.ts';

/** What a pass decided. */
export interface Plan {
  readonly actions: readonly Action[];
  readonly result: Result;
  readonly scaling: ScalingDecision;
  /** Sizes that are wanted; `undefined` when the plan did not come so far. */
  readonly sizing: Extract<Sizing, { kind: 'sized' }> | undefined;
  /** Revision that instances shall run with. */
  readonly revision: string | undefined;
  /** Servers that instances of Pgpool-II shall know. */
  readonly backends?: readonly Backend[] | undefined;
}

/**
 * What is next for a PoolerConfig. What lets clients go on (RESUME, RECONNECT) comes first and always; with a spec that
 * cannot be carried out nothing else is touched, so running poolers go on with what they have.
 */
export function plan(input: PlanInput): Plan {
  const { pooler, observed, now } = input;
  const wished = decideReplicas({
    spec: pooler.spec,
    current: pooler.status?.replicas?.desired,
    enoughSince: pooler.status?.replicas?.enoughSince,
    loads: loadsOf(pooler, observed),
    now,
  });
  const first = reconnects(input);
  const stopped = (result: Result, actions: readonly Action[] = [], more: Partial<Plan> = {}): Plan => ({
    scaling: wished,
    sizing: undefined,
    revision: undefined,
    ...more,
    actions: [...first, ...actions],
    result,
  });

  const refused = (result: Result, more: Partial<Plan> = {}): Plan => stopped(result, renewals(input), more);
  const problem = parameterProblem(pooler.spec);
  if (problem !== undefined) return refused(problem);
  const target = targetOf(input);
  if ('stop' in target) return refused(target.stop);
  const { cluster, databases } = target.value;
  const { scaling, instances, sizing } = sizeThatFits(input, wished, databases);
  if (sizing.kind === 'waiting') return refused(wait('ShareTaken', sizing.message, 2_000), { scaling });
  if (sizing.kind === 'refused') return refused(fail('PoolsDoNotFit', sizing.message), { scaling });
  const identity = identityOf(input);
  if ('stop' in identity)
    return identity.stop.kind === 'fail'
      ? refused(identity.stop, { scaling, sizing })
      : stopped(identity.stop, identity.actions, { scaling, sizing });

  const { revision, files } = settingsFiles({
    pooler,
    database: cluster.spec.postgres.database,
    sizes: sizing.databases,
    monitoring: identity.value.monitoring,
    instances,
    certificates: identity.value.files,
  });
  const known = { scaling, sizing, revision };
  const written = writes(input, { ...identity.value.files, ...files });
  if (written.length > 0)
    return stopped(wait('SettingsPending', 'settings are being written', 0), written, known);

  const outdated = observed.instances.filter((instance) => isBehind(input, instance, revision));
  const shrinking = observed.instances.filter((instance) => !outdated.includes(instance));
  const reductions = shrinking.flatMap((instance) => reductionsOf(instance, sizing.databases));
  const silent = givesUp(input, scaling.replicas, sizing.total) ? shrinking.filter(isSilent) : [];
  const behind = [
    ...outdated.map(podName),
    ...new Set(reductions.map(({ pod }) => pod)),
    ...silent.map(podName),
  ];
  // Pools of running instances have become smaller before others come to share the servers with them.
  const replicas =
    behind.length > 0 ? Math.min(scaling.replicas, presentReplicas(observed)) : scaling.replicas;
  const image = pooler.spec.image ?? input.settings.postgresImage;
  const imagePullSecrets = pooler.spec.imagePullSecrets ?? cluster.spec.imagePullSecrets;
  const wanted = poolerObjects(pooler, { image, imagePullSecrets, replicas });
  const objects = objectsToApply(wanted, observed.objects);
  const applies = objects.map((object): Action => ({ kind: 'apply', type: resourceTypeOf(object), object }));
  const actions = [
    ...applies,
    ...deliveries(observed, outdated, revision),
    ...reductions.filter((action) => !isHeld(observed, action)),
  ];
  return stopped(progressOf(input, { replicas, behind, applies: applies.length, scaling }), actions, known);
}

/**
 * When others serve, after a failover for one: connections to those before end as soon as their transaction does; where members
 * of a set leave and come, pass after pass until every node knows. Not where none is left, as after a switchover behind the gate or
 * a crash: what is told to reconnect while it logs in is an error for a client.
 */
function reconnects(input: PlanInput): Action[] {
  const { pooler, observed } = input;
  if (observed.cluster === undefined) return [];
  // A shard whose server does not tell its limits has the names that clients have found it by.
  const databases = [...databasesIn(observed.cluster, pooler, observed), ...(pooler.status?.databases ?? [])];
  return movedTargets(input).flatMap(({ shard, sessions }) => {
    const names = databases.filter((database) => database.shard === shard).map(({ name }) => name);
    return [...new Set(names)].flatMap((name) =>
      observed.instances
        .filter(({ facts }) => facts.state === 'present' && mayLeadElsewhere(facts.value, name, sessions))
        .map(({ pod }): Action => ({ kind: 'reconnect', pod: pod.metadata.name, database: name })),
    );
  });
}

/** Whether a connection may not be to the server with these sessions. A crash ends all that were to the one before. */
function mayLeadElsewhere(
  facts: InstanceFacts,
  database: string,
  sessions: ReadonlySet<string> | undefined,
): boolean {
  if (facts.sessions === undefined || sessions === undefined) return true;
  return facts.sessions.some((entry) => entry.database === database && !sessions.has(entry.session));
}

function targetOf({ pooler, observed }: PlanInput): Step<{
  readonly cluster: ShardedCluster;
  readonly databases: readonly PoolerDatabase[];
}> {
  const { cluster: name, role } = pooler.spec.target;
  const { cluster } = observed;
  if (cluster === undefined)
    return stop(
      fail(
        'TargetNotFound',
        `there is no ShardedCluster "${name}" in namespace "${pooler.metadata.namespace}": create it, or make a PoolerConfig with another spec.target.cluster`,
      ),
    );
  const setProblem = replicaSetProblem(pooler, observed);
  if (setProblem !== undefined) return stop(fail('TargetNotFound', setProblem));
  if (observed.replicaSet !== undefined && isEmpty(observed.replicaSet))
    return stop(
      fail(
        'NoMember',
        `ReadReplicaSet "${observed.replicaSet.metadata.name}" has no member, and nobody stands in for them: raise its spec.replicas, or set its spec.whenNoneFresh to "primary"`,
      ),
    );
  if (role === 'ro' && observed.replicaSet === undefined && cluster.spec.members < 2)
    return stop(
      fail(
        'NoStandby',
        `ShardedCluster "${name}" has 1 member for each shard, so there is no standby for role "ro": raise its spec.members, or use role "rw"`,
      ),
    );
  const away = observed.targets.find(
    ({ shard, limits }) =>
      limits.state !== 'present' && pooler.status?.databases?.some((database) => database.shard === shard),
  );
  if (away !== undefined)
    return stop(wait('ShardUnknown', `shard ${away.shard} does not answer: its clients are kept`, 5_000));
  const databases = databasesIn(cluster, pooler, observed);
  if (databases.length === 0)
    return stop(wait('TargetNotReady', `ShardedCluster "${name}" has no shard that answers yet`, 2_000));
  const long = databases.find((database) => database.name.length > longestDatabaseName);
  if (long !== undefined)
    return stop(
      fail(
        'DatabaseNameTooLong',
        `clients would find shard ${long.shard} as "${long.name}", and PgBouncer takes names of ${longestDatabaseName} characters: let them connect to the Services of the shards, or make a cluster with a shorter spec.postgres.database`,
      ),
    );
  const names = databases.map((database) => database.name);
  const unknown = pooler.spec.databases.find((database) => !names.includes(database.name));
  if (unknown !== undefined)
    return stop(
      fail(
        'UnknownDatabase',
        `spec.databases names "${unknown.name}", and there is only ${names.join(', ')}: write one of these, or leave it out`,
      ),
    );
  return { value: { cluster, databases } };
}

function replicaSetProblem({ spec }: PoolerConfig, { replicaSet }: Observed): string | undefined {
  const { readReplicaSet: name, cluster } = spec.target;
  if (name !== undefined && replicaSet?.spec.mode === 'logical')
    return `ReadReplicaSet "${name}" is a read model of its own, which poolers do not reach: connect to its Service, or target a physical set`;
  if (name === undefined || replicaSet?.spec.cluster === cluster) return undefined;
  return replicaSet === undefined
    ? `there is no ReadReplicaSet "${name}": create it, or make a PoolerConfig with another spec.target.readReplicaSet`
    : `ReadReplicaSet "${name}" belongs to ShardedCluster "${replicaSet.spec.cluster}", not to "${cluster}": make a PoolerConfig with that spec.target.cluster`;
}

/** Whether a set never has anybody to read from. */
function isEmpty({ spec }: NonNullable<Observed['replicaSet']>): boolean {
  return spec.replicas === 0 && spec.autoscaling === undefined && spec.whenNoneFresh !== 'primary';
}

/** A new shard is named to clients once its server has answered; one that was named stays while it is away. */
function databasesIn(
  cluster: ShardedCluster,
  { spec, status }: PoolerConfig,
  observed: Observed,
): PoolerDatabase[] {
  const shards = observed.targets
    .filter(({ limits }) => limits.state === 'present')
    .map(({ shard }) => shard);
  const named = status?.databases?.map(({ name }) => name) ?? [];
  // A set may be in one shard of many; a target that does not answer yet is none of the others.
  const isPart = observed.targets.length < (cluster.status?.shards?.items.length ?? 0);
  return databasesOf(cluster.spec.postgres.database, spec.target.role, shards, (name) => {
    if (isPart) return true;
    // Who does not answer may have clients of it.
    const isUsed = ({ facts }: Observed['instances'][number]) =>
      facts.state !== 'present' || facts.value.databases.includes(name);
    return named.includes(name) && observed.instances.some(isUsed);
  });
}

function limitsOf(observed: Observed) {
  return new Map(
    observed.targets.flatMap(({ shard, limits }) =>
      limits.state === 'present' ? [[shard, limits.value] as const] : [],
    ),
  );
}

/**
 * Sizes for as many instances as load asks for, as far as the servers have room for them; those that are there, and as many as
 * the spec insists on, are not put in question.
 */
function sizeThatFits(
  { pooler, observed }: PlanInput,
  wished: ScalingDecision,
  databases: readonly PoolerDatabase[],
): { scaling: ScalingDecision; instances: number; sizing: Sizing } {
  const { autoscaling } = pooler.spec;
  const sizeFor = (replicas: number) => {
    const instances = instancesToSizeFor(observed, replicas);
    const sizing = sizePools({
      spec: pooler.spec,
      databases,
      limits: limitsOf(observed),
      instances,
      ...observed.sharing,
      held: pooler.status?.sizing?.total ?? 0,
    });
    return { instances, sizing };
  };
  const least = autoscaling && Math.max(autoscaling.minReplicas, presentReplicas(observed));
  let scaling = wished;
  let sized = sizeFor(wished.replicas);
  while (sized.sizing.kind !== 'sized' && least !== undefined && scaling.replicas > least) {
    const reason = `${wished.reason}; a further one does not fit: ${sized.sizing.message}`;
    scaling = { replicas: scaling.replicas - 1, reason, enoughSince: undefined };
    sized = sizeFor(scaling.replicas);
  }
  return { scaling, ...sized };
}

/** Instances that are wanted, and those that are still there: a pool is never sized for fewer than may be connected. */
function instancesToSizeFor(observed: Observed, replicas: number): number {
  return Math.max(replicas, ...observed.instances.map((instance) => instance.ordinal + 1));
}

function presentReplicas({ statefulSet }: Observed): number {
  return statefulSet?.spec?.replicas ?? Number.POSITIVE_INFINITY;
}

function isBehind({ pooler, observed }: PlanInput, instance: ObservedInstance, revision: string): boolean {
  if (runsWithout(instance, revision)) return true;
  const { pod, facts } = instance;
  if (pod.metadata.deletionTimestamp !== undefined || facts.state !== 'present') return false;
  // Who holds clients back changes it meanwhile, and may end before it is set back.
  const { minPoolSize = pooler.spec.minPoolSize } = facts.value;
  return minPoolSize !== pooler.spec.minPoolSize && !isAnyHeld(observed.held, pod);
}

function podName({ pod }: ObservedInstance): string {
  return pod.metadata.name;
}

/** Whether others, further instances or other PoolerConfigs, are to open what instances had. */
function givesUp({ pooler, observed }: PlanInput, replicas: number, total: number): boolean {
  return replicas > presentReplicas(observed) || total < (pooler.status?.sizing?.total ?? 0);
}

/** Settings that were delivered may not have been read: who does not answer may have the pools that it had. */
function isSilent({ pod, ready, facts }: ObservedInstance): boolean {
  return ready && facts.state !== 'present' && pod.metadata.deletionTimestamp === undefined;
}

/** Connections over the share are given up when their transaction ends, and no more than the share is opened again. */
function reductionsOf({ pod, facts }: ObservedInstance, sizes: readonly DatabaseSize[]) {
  if (facts.state !== 'present') return [];
  return oversizedDatabases(facts.value, sizes).map((database) => ({
    kind: 'reconnect' as const,
    pod: pod.metadata.name,
    database,
  }));
}

/** Whoever is held back is let go first. */
function isHeld({ instances, held }: Observed, { pod: name, database }: { pod: string; database: string }) {
  const uid = instances.find(({ pod }) => pod.metadata.name === name)?.pod.metadata.uid;
  return held.has(`${uid}/${database}`);
}

interface Progress {
  readonly replicas: number;
  /** Pods that have not taken over what is written. */
  readonly behind: readonly string[];
  readonly applies: number;
  readonly scaling: ScalingDecision;
}

function progressOf({ pooler, observed }: PlanInput, progress: Progress): Result {
  const ready = observed.instances.filter((instance) => instance.ready).length;
  if (progress.behind.length > 0)
    return wait('SettingsPending', `${progress.behind.join(', ')} take over new settings`, 1_000);
  const { name } = keyOf(pooler);
  if (progress.applies > 0) return wait('Applying', `objects of "${name}" are being applied`, 0);
  const wanted = progress.scaling.replicas;
  if (ready < wanted) return wait('InstancesNotReady', `${ready} of ${wanted} instances are ready`, 2_000);
  if (observed.instances.length > wanted)
    return wait(
      'Draining',
      `${observed.instances.length - wanted} instances wait for their clients to leave`,
      2_000,
    );
  const { updateRevision, currentRevision } = observed.statefulSet?.status ?? {};
  if (updateRevision !== currentRevision)
    return wait('Updating', 'instances are being replaced one by one', 2_000);
  return { kind: 'ready' };
}
