import type { PoolerConfigStatus } from '../../api/v1alpha1/pooler-config.ts';
import { type ConditionInput, setCondition } from '../../runtime/conditions.ts';
import type { Condition } from '../../runtime/kubernetes-object.ts';
import { postgresPort, selectorText, serviceHost } from '../sharded-cluster/names.ts';
import type { PoolerFailure } from './failure.ts';
import { waitsTogether } from './loads.ts';
import { everybodyKnowsMs, type InstanceFacts, type PlanInput, type Result } from './model.ts';
import { poolerName, poolerSelector } from './names.ts';
import { backendStatus } from './pgpool/status.ts';
import type { Plan } from './plan.ts';

/** The status of a PoolerConfig, from zero. */
export function statusOf(
  input: PlanInput,
  plan: Plan,
  failures: readonly PoolerFailure[],
): PoolerConfigStatus {
  const { pooler, observed, now } = input;
  const { name, namespace, generation } = pooler.metadata;
  const result = withFailures(plan.result, failures);
  const ready = observed.instances.filter((instance) => instance.ready).length;
  const { replicas, reason, enoughSince } = plan.scaling;
  const updated = observed.instances.filter(
    ({ facts }) => facts.state === 'present' && facts.value.revision === plan.revision,
  ).length;
  const databases = plan.sizing?.databases ?? pooler.status?.databases ?? [];
  const listeners = unfitListeners(input, databases);
  const inputs = conditionsOf(input, result, { ready, wanted: replicas, listeners });
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: [
      ...inputs.reduce<readonly Condition[]>(
        (conditions, condition) =>
          setCondition(
            conditions,
            generation === undefined ? condition : { ...condition, observedGeneration: generation },
            now,
          ),
        (pooler.status?.conditions ?? []) as readonly Condition[],
      ),
    ],
    phase: phaseOf(result, ready),
    selector: selectorText(poolerSelector(name)),
    service: `${serviceHost(poolerName(name), namespace)}:${postgresPort}`,
    replicas: {
      desired: replicas,
      current: observed.instances.length,
      ready,
      updated: plan.revision === undefined ? 0 : updated,
      summary: `${ready}/${replicas}`,
      ...(reason === undefined ? {} : { reason }),
      ...(enoughSince === undefined ? {} : { enoughSince }),
    },
    ...sizesOf(pooler.status, plan),
    ...(pooler.spec.engine === 'pgpool'
      ? { backends: backendStatus(pooler.status, plan.backends, observed) }
      : { primaries: primariesOf(input, failures) }),
    pools: usageOf(
      observed.instances.flatMap(({ facts }) => (facts.state === 'present' ? [facts.value] : [])),
    ),
  };
}

/** What failed says more than what was planned. */
export function withFailures(result: Result, failures: readonly PoolerFailure[]): Result {
  const [failure] = failures;
  if (failure === undefined || result.kind === 'fail') return result;
  return { kind: 'wait', reason: 'Retrying', message: failure.error.message, afterMs: 2_000 };
}

/** Sizes of the plan; with a spec that is refused, those that instances go on with. */
function sizesOf(
  status: PoolerConfigStatus | undefined,
  { sizing, result }: Plan,
): Pick<PoolerConfigStatus, 'databases' | 'sizing'> {
  if (sizing === undefined) {
    return {
      ...(status?.databases === undefined ? {} : { databases: status.databases }),
      ...(status?.sizing === undefined ? {} : { sizing: status.sizing }),
    };
  }
  const { databases, limit, message } = sizing;
  // Others take what is given up, so it counts until every instance has given it up.
  const total = haveSizes(result) ? sizing.total : Math.max(sizing.total, status?.sizing?.total ?? 0);
  return {
    databases: databases.map(({ name, shard, poolSize, maxConnections }) => ({
      name,
      shard,
      poolSize,
      maxConnections,
    })),
    sizing: { total, limit, message },
  };
}

/** Whether all instances that run have the sizes of the plan: what is left then is to come or to go. */
function haveSizes(result: Result): boolean {
  return result.kind === 'ready' || result.reason === 'InstancesNotReady' || result.reason === 'Draining';
}

/** Rounded, so that a status is not written for every client that comes or goes. */
function usageOf(instances: readonly InstanceFacts[]): NonNullable<PoolerConfigStatus['pools']> {
  const sum = (count: (facts: InstanceFacts) => number) =>
    instances.reduce((total, facts) => total + count(facts), 0);
  const { waiting, maxWaitSeconds } = waitsTogether(instances.flatMap(({ waits }) => waits));
  return {
    clients: rounded(sum((facts) => facts.clients)),
    waiting: rounded(waiting),
    servers: rounded(sum((facts) => facts.servers)),
    maxWaitSeconds,
  };
}

function rounded(count: number): number {
  return Number(count.toPrecision(2));
}

/** How long an instance that does not answer may take to be told who serves; others are told again and again meanwhile. */
const silentMs = 15_000;

/** Who serves is noted when every instance has been told of it; members of a set, when it was told once more after every node knew. */
function primariesOf(
  { pooler, observed }: PlanInput,
  failures: readonly PoolerFailure[],
): Record<string, string> {
  const untold = failures.some(({ action }) => action.kind === 'reconnect');
  const isSilent = observed.instances.some(
    ({ facts, pod }) => facts.state !== 'present' && pod.status?.phase === 'Running',
  );
  const entries = observed.targets.flatMap(({ shard, servedBy, servedMs }): [string, string][] => {
    const before = pooler.status?.primaries?.[shard];
    const isSettled = servedMs >= everybodyKnowsMs || pooler.spec.target.readReplicaSet === undefined;
    const isMissed = isSilent && servedMs < silentMs;
    const isKnown = !untold && !isMissed && isSettled;
    const known = isKnown ? (servedBy ?? before) : (before ?? servedBy);
    return known === undefined ? [] : [[shard, known]];
  });
  return Object.fromEntries(entries);
}

function conditionsOf(
  { pooler, observed }: PlanInput,
  result: Result,
  {
    ready,
    wanted,
    listeners,
  }: { readonly ready: number; readonly wanted: number; readonly listeners: number },
): ConditionInput[] {
  return [
    ready === 0
      ? {
          type: 'Ready',
          status: 'False',
          reason: result.kind === 'ready' ? 'InstancesNotReady' : result.reason,
          message: result.kind === 'ready' ? 'no instance is ready' : result.message,
        }
      : {
          type: 'Ready',
          status: 'True',
          reason: 'TakingClients',
          message: `${ready} of ${wanted} instances take clients`,
        },
    progressing(result),
    result.kind === 'fail'
      ? { type: 'Degraded', status: 'True', reason: result.reason, message: result.message }
      : { type: 'Degraded', status: 'False', reason: 'Well', message: 'the spec is carried out' },
    // A session of Pgpool-II has its server connections for itself.
    ...(pooler.spec.engine === 'pgpool'
      ? []
      : [
          (listeners === 0 ? seenListening(pooler) : undefined) ??
            (observed.targets.length === 0 ? nobodyAsked : listening(listeners)),
        ]),
  ];
}

function progressing(result: Result): ConditionInput {
  const type = 'Progressing';
  switch (result.kind) {
    case 'wait':
      return { type, status: 'True', reason: result.reason, message: result.message };
    case 'fail':
      return { type, status: 'False', reason: result.reason, message: `it stands still: ${result.message}` };
    default:
      return { type, status: 'False', reason: 'AsWanted', message: 'nothing is left to do' };
  }
}

/** Others soon have the connection on which LISTEN was seen; the warning stays for as long as the spec does. */
function seenListening({ status, metadata }: PlanInput['pooler']): ConditionInput | undefined {
  const before = status?.conditions?.find(({ type }) => type === 'PoolModeFits');
  if (before?.status !== 'False' || before.observedGeneration !== metadata.generation) return undefined;
  const { type, status: value, reason, message } = before;
  return { type, status: value, reason, message };
}

/** Sessions that use LISTEN where neither their user nor every database of their shard has poolMode "session". */
function unfitListeners(
  { pooler: { spec }, observed }: PlanInput,
  databases: readonly { readonly name: string; readonly shard: string }[],
): number {
  const modeOf = (name: string) =>
    spec.databases.find((database) => database.name === name)?.poolMode ?? spec.poolMode;
  const unfit = observed.targets.flatMap(({ shard, listeners }) => {
    const modes = databases.filter((database) => database.shard === shard).map(({ name }) => modeOf(name));
    const isSession = (modes.length === 0 ? [spec.poolMode] : modes).every((mode) => mode === 'session');
    return listeners.filter((name) => {
      const own = spec.users.find((user) => user.name === name)?.poolMode;
      return own === undefined ? !isSession : own !== 'session';
    });
  });
  return unfit.length;
}

const nobodyAsked: ConditionInput = {
  type: 'PoolModeFits',
  status: 'Unknown',
  reason: 'TargetUnknown',
  message: 'there is no server yet that could tell who uses LISTEN',
};

/** LISTEN belongs to a session, and with any other pool mode notifications go to whoever has the connection next. */
function listening(listeners: number): ConditionInput {
  if (listeners === 0)
    return {
      type: 'PoolModeFits',
      status: 'True',
      reason: 'Fits',
      message: 'no use of LISTEN was seen but with poolMode "session"',
    };
  return {
    type: 'PoolModeFits',
    status: 'False',
    reason: 'ListenInTransactionMode',
    message:
      `${listeners} sessions of poolers use LISTEN, which gets no notifications while others use the same connection: ` +
      'give those clients a database or user with poolMode "session" (spec.databases, spec.users), or let them connect directly',
  };
}

function phaseOf(result: Result, ready: number): string {
  if (result.kind === 'fail') return 'Degraded';
  if (ready === 0) return 'Creating';
  return result.kind === 'wait' ? 'Updating' : 'Ready';
}
