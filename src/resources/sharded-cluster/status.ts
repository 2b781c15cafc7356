import type { MemberStatus, ShardedClusterStatus, ShardStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ConditionInput } from '../../runtime/conditions.ts';
import { setCondition } from '../../runtime/conditions.ts';
import type { Condition } from '../../runtime/kubernetes-object.ts';
import { ownerCounts } from '../../sharding/map.ts';
import { effectiveDurability } from './desired/dynamic-config.ts';
import { type Pod, podProblem } from './kubernetes.ts';
import type { ObservedMember, ObservedShard, PlanInput } from './model.ts';
import { claimTemplate, clusterMemberSelector, selectorText } from './names.ts';
import type { Outcome } from './plan-result.ts';
import { silentMs } from './stand-still.ts';
import { type ConditionFacts, conditionsOf, isNew, phaseOf } from './status-conditions.ts';
import { confirmsCommits } from './steps/durability.ts';
import type { ParameterDecision } from './steps/parameters.ts';
import { factsOf } from './steps/shards.ts';
import { keptStrays } from './steps/strays.ts';
import { wantedNames } from './wanted-shards.ts';

/** Lag below this is shown as none: it changes with every write, and a status that says nothing new is not sent. */
const shownLagBytes = 1024 * 1024;

/** The whole status, from zero; only transition times come from the one before. */
export function statusOf(
  input: PlanInput,
  outcomes: readonly Outcome[],
  parameters: ParameterDecision,
): ShardedClusterStatus {
  const { cluster, observed, now } = input;
  const { generation } = cluster.metadata;
  const items = observed.shards.map((shard) => shardStatus(shard, input));
  const names = wantedNames(cluster);
  const wanted = items.filter((shard) => names.includes(shard.name));
  const readyShards = wanted.filter((shard) => shard.ready).length;
  const desiredMembers = names.length * cluster.spec.members;
  const readyMembers = items.reduce((sum, shard) => sum + shard.readyMembers, 0);
  const facts: ConditionFacts = {
    outcomes,
    readyShards,
    desiredShards: names.length,
    unreadyReasons: wanted
      .filter((shard) => !shard.ready)
      .map((shard) => `shard ${shard.name}: ${shard.message ?? 'not ready'}`),
    isNew: isNew(cluster.status),
    hasLostShards: hasLostShards(input, wanted),
    missingMembers: observed.shards.flatMap((shard) => missingMembers(shard, input)),
    strays: observed.shards.flatMap((shard) =>
      shard.strays.filter(({ forMs }) => forMs >= silentMs).map(({ name }) => name),
    ),
    keptStrays: observed.shards.flatMap((shard) =>
      keptStrays(cluster.spec, shard).map(({ name }) => `${name} (claim ${claimTemplate}-${name})`),
    ),
    isLessDurable: effectiveDurability(cluster.spec) !== cluster.spec.durability,
    refusedParameters: parameters.refused?.message,
    generation,
  };
  const map = observed.map.state === 'present' ? observed.map.value.spec : undefined;
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: merged(conditionsBefore(cluster.status), conditionsOf(facts), now),
    phase: phaseOf(facts),
    selector: selectorText(clusterMemberSelector(cluster.metadata.name)),
    shards: {
      desired: names.length,
      names: [...names],
      ...leavingShards(input, names),
      current: items.length,
      ready: readyShards,
      summary: `${readyShards}/${names.length}`,
      items,
    },
    members: { desired: desiredMembers, ready: readyMembers, summary: `${readyMembers}/${desiredMembers}` },
    ...(map === undefined
      ? {}
      : {
          map: {
            epoch: map.epoch,
            buckets: map.groups.reduce((sum, group) => sum + group.buckets.length, 0),
          },
        }),
    ...laidOutTables(input),
    primaries: items.flatMap((shard) => shard.primary ?? []).join(','),
    ...(parameters.lastGood === undefined ? {} : { lastGoodParameters: { ...parameters.lastGood } }),
    ...(parameters.refused === undefined ? {} : { refusedParameters: { ...parameters.refused } }),
  };
}

/** Those that were chosen to go and are still there. */
function leavingShards(
  { cluster, observed }: PlanInput,
  names: readonly string[],
): Pick<NonNullable<ShardedClusterStatus['shards']>, 'leaving'> {
  const leaving = (cluster.status?.shards?.leaving ?? []).filter(
    ({ name }) => !names.includes(name) && observed.shards.some((shard) => shard.name === name),
  );
  return leaving.length === 0 ? {} : { leaving };
}

/** A planned switchover takes less. */
const outageMs = 10_000;

/** Whether one that owns buckets or was ready is away, and not only for a moment. */
function hasLostShards({ cluster: { status }, now }: PlanInput, wanted: readonly ShardStatus[]): boolean {
  const ready = conditionsBefore(status).find(({ type }) => type === 'Ready');
  const isWell = ready === undefined || ready.status === 'True';
  if (isNew(status) || isWell || now.getTime() - Date.parse(ready.lastTransitionTime) < outageMs)
    return false;
  return wanted.some((shard) => {
    const before = status?.shards?.items.find(({ name }) => name === shard.name);
    const owns = Object.values(shard.buckets ?? {}).some((count) => count > 0);
    return !shard.ready && (owns || before?.ready === true || status?.phase === 'Degraded');
  });
}

/** The conditions that a status has. */
export function conditionsBefore(status: Pick<ShardedClusterStatus, 'conditions'> | undefined): Condition[] {
  return (status?.conditions ?? []).map(({ observedGeneration, ...condition }) =>
    observedGeneration === undefined ? condition : { ...condition, observedGeneration },
  );
}

/** Conditions with their transition times; whatever is no longer derived is dropped. */
export function merged(
  before: readonly Condition[],
  conditions: readonly ConditionInput[],
  now: Date,
): NonNullable<ShardedClusterStatus['conditions']> {
  return conditions.flatMap((condition) => {
    const previous = before.filter((other) => other.type === condition.type);
    return setCondition(previous, condition, now).map((entry) => ({ ...entry }));
  });
}

/** Tables of the spec that are laid out on some shard: from then on their layout is fixed. What is unknown stays as it was. */
function laidOutTables({ cluster, observed }: PlanInput): Pick<ShardedClusterStatus, 'laidOutTables'> {
  const present = new Set(cluster.status?.laidOutTables ?? []);
  for (const shard of observed.shards) {
    for (const row of factsOf(shard)?.catalog?.distribution ?? []) present.add(row.table_name);
  }
  // What was converted can be taken out again until the retention ends.
  for (const { layout } of observed.shards.flatMap((shard) => factsOf(shard)?.catalog?.conversions ?? [])) {
    for (const { name } of layout.tables) present.delete(name);
  }
  const names = cluster.spec.tables.map((table) => table.name).filter((name) => present.has(name));
  return names.length === 0 ? {} : { laidOutTables: names };
}

function shardStatus(shard: ObservedShard, { cluster, observed }: PlanInput): ShardStatus {
  const group = shard.group.state === 'present' ? shard.group.value : undefined;
  const facts = factsOf(shard);
  const primary = facts?.member ?? group?.leader;
  const timeline = primary === undefined ? undefined : group?.members.get(primary)?.timeline;
  const map = observed.map.state === 'present' ? observed.map.value.spec : undefined;
  const buckets = map === undefined ? undefined : ownerCounts(map).get(shard.name);
  const last = facts?.catalog?.ledger.toSorted((a, b) => a.position - b.position).at(-1);
  const isSafe = confirmsCommits(cluster.spec, shard);
  const ready = facts?.isSetUp === true && isSafe;
  const message = ready ? undefined : whyNotReady(shard, isSafe);
  return {
    name: shard.name,
    ...(primary === undefined ? {} : { primary }),
    ...(timeline === undefined ? {} : { timeline }),
    ready,
    readyMembers: shard.members.filter((member) => member.ready).length,
    members: shard.members.map((member) => memberStatus(member, shard)),
    ...(facts === undefined ? {} : { sizeBytes: rounded(facts.stats.databaseBytes) }),
    ...(buckets === undefined ? {} : { buckets: { ...buckets } }),
    ...(last === undefined ? {} : { schemaVersion: last.name }),
    ...(message === undefined ? {} : { message }),
  };
}

function memberStatus(member: ObservedMember, shard: ObservedShard): MemberStatus {
  const group = shard.group.state === 'present' ? shard.group.value : undefined;
  const facts = group?.members.get(member.name);
  return {
    name: member.name,
    role: facts?.role ?? 'unknown',
    state: facts?.state ?? 'unknown',
    ready: member.ready,
    ...(member.zone === undefined ? {} : { zone: member.zone }),
    ...(member.pod?.spec?.nodeName === undefined ? {} : { node: member.pod.spec.nodeName }),
    ...(facts?.timeline === undefined ? {} : { timeline: facts.timeline }),
    ...(facts?.role !== 'standby' || facts.lagBytes === undefined
      ? {}
      : { lagBytes: shownLag(facts.lagBytes) }),
    ...(facts?.role !== 'standby' ? {} : { sync: facts.sync }),
    ...(facts?.pendingRestart === true ? { pendingRestart: true } : {}),
  };
}

function whyNotReady(shard: ObservedShard, isSafe: boolean): string {
  for (const { pod, name } of shard.members) {
    const problem = pod === undefined ? undefined : podProblem(pod);
    if (problem !== undefined) return `member ${name}: ${problem.reason}: ${problem.message}`;
  }
  if (shard.database.state === 'unknown') return shard.database.error.message;
  if (shard.group.state === 'unknown') return shard.group.error.message;
  if (shard.database.state === 'present' && !isSafe) return 'no standby confirms its commits';
  return 'it has no primary yet';
}

/** How long a new member may take before it counts as amiss. */
const startingMs = 60_000;
/** In a new cluster, whose images may have to be pulled first. */
const firstStartMs = 600_000;
/** How long Kubernetes may have something against a new pod: a volume is not bound at once. */
const settlingMs = 10_000;

function missingMembers(shard: ObservedShard, { cluster, now }: PlanInput): string[] {
  return shard.members.flatMap(({ ready, name, pod }) => {
    if (ready) return [];
    const problem = pod === undefined ? undefined : podProblem(pod);
    const { creationTimestamp = cluster.metadata.creationTimestamp ?? '' } = pod?.metadata ?? {};
    const forMs = now.getTime() - Date.parse(creationTimestamp);
    if (problem !== undefined)
      return forMs < settlingMs ? [] : [`${name} (${problem.reason}: ${problem.message})`];
    return forMs < patienceMs(pod, isNew(cluster.status)) ? [] : [name];
  });
}

/** One that has ended once begins again and again: it waits for no image. */
function patienceMs(pod: Pod | undefined, isFirst: boolean): number {
  if (!isFirst) return startingMs;
  const hasEnded = pod?.status?.containerStatuses?.some(({ restartCount = 0 }) => restartCount > 0);
  return hasEnded === true ? settlingMs : firstStartMs;
}

/** Two significant digits. */
function rounded(bytes: number): number {
  return Number(bytes.toPrecision(2));
}

/** Lag to one significant digit, and none when it is small. */
function shownLag(bytes: number): number {
  return bytes < shownLagBytes ? 0 : Number(bytes.toPrecision(1));
}
