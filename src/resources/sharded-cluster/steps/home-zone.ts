import { ownerCounts } from '../../../sharding/map.ts';
import { effectiveDurability } from '../desired/dynamic-config.ts';
import type { Pod } from '../kubernetes.ts';
import {
  type Action,
  type GroupFacts,
  type ObservedMember,
  type ObservedShard,
  type PlanInput,
  proceed,
  type StepResult,
} from '../model.ts';
import { isNew } from '../status-conditions.ts';
import { isStreaming, switchoverCandidate } from './rollout.ts';
import { wantedShards } from './shards.ts';

/** How long a member must have been ready before it may take the primary home: one that keeps failing must not. */
const steadyMs = 120_000;

/** Takes the primary back to its shard's home zone, by a planned switchover, when all members are well and nothing moves. */
export function homeZones(input: PlanInput): StepResult {
  for (const stray of strays(input)) {
    const { shard, zone } = stray;
    if (!shard.members.every((member) => member.ready) || isMoving(input, shard)) continue;
    const home = goingHome(stray, (member) => readyForMs(member.pod, input.now) >= steadyMs);
    if (home === undefined) continue;
    const message = `shard ${shard.name}: the primary goes home to zone ${zone}, to ${home.candidate}`;
    return { kind: 'wait', reason: 'GoingHome', message, afterMs: 1_000, actions: [home] };
  }
  return proceed;
}

/**
 * The first primary is whichever member was first. While a cluster is being made, or a shard that joins has no bucket yet,
 * nobody is disturbed when it goes home, so that it does as soon as commits would survive: once, since a switchover ends
 * timeline 1, and never during a clone.
 */
export function firstHomes(input: PlanInput): StepResult {
  const { cluster } = input;
  const needsSync = effectiveDurability(cluster.spec) !== 'asynchronous';
  const actions = strays(input).flatMap((stray) => {
    const { shard, group } = stray;
    if (!isNew(cluster.status) && !hasJoined(input, shard)) return [];
    const others = [...group.members].filter(([name]) => name !== group.leader);
    if (group.members.get(group.leader ?? '')?.timeline !== 1) return [];
    if (!others.every(([, facts]) => isStreaming(facts))) return [];
    const home = goingHome(stray, ({ name }) => !needsSync || group.members.get(name)?.sync === true);
    return home === undefined ? [] : [home];
  });
  if (actions.length === 0) return proceed;
  const shards = actions.map(({ shard }) => shard).join(', ');
  const message = `shard ${shards}: the first primary goes home to its zone`;
  return { kind: 'wait', reason: 'GoingHome', message, afterMs: 500, actions };
}

/** Whether others have buckets, and this shard has none and is getting none. */
function hasJoined(input: PlanInput, shard: ObservedShard): boolean {
  const { map } = input.observed;
  if (map.state !== 'present' || isMoving(input, shard)) return false;
  const owners = ownerCounts(map.value.spec);
  return owners.size > 0 && !owners.has(shard.name);
}

/** Ending the sessions of a move would only have it begin anew. */
function isMoving({ observed }: PlanInput, { name }: ObservedShard): boolean {
  return observed.movingShards?.includes(name) === true;
}

/** A shard whose primary is not in its home zone. */
interface Stray {
  readonly shard: ObservedShard;
  readonly group: GroupFacts;
  readonly primary: string;
  readonly zone: string;
}

function strays({ cluster, observed }: PlanInput): Stray[] {
  return wantedShards(cluster).flatMap(({ name, zone }): Stray[] => {
    const shard = observed.shards.find((candidate) => candidate.name === name);
    if (zone === undefined || shard?.group.state !== 'present') return [];
    const group = shard.group.value;
    const primary = shard.members.find((member) => member.name === group.leader);
    if (primary?.zone === undefined || primary.zone === zone || group.paused) return [];
    return [{ shard, group, primary: primary.name, zone }];
  });
}

type Switchover = Extract<Action, { kind: 'switchover' }>;

function goingHome(
  { shard, group, primary, zone }: Stray,
  acceptable: (member: ObservedMember) => boolean,
): Switchover | undefined {
  const candidate = switchoverCandidate(
    shard,
    group,
    (member) => member.zone === zone && acceptable(member),
  )?.name;
  return candidate === undefined
    ? undefined
    : { kind: 'switchover', shard: shard.name, leader: primary, candidate };
}

function readyForMs(pod: Pod | undefined, now: Date): number {
  const ready = pod?.status?.conditions?.find((condition) => condition.type === 'Ready');
  if (ready?.status !== 'True' || ready.lastTransitionTime === undefined) return 0;
  return now.getTime() - Date.parse(ready.lastTransitionTime);
}
