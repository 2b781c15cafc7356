import type { Pod } from '../kubernetes.ts';
import { type PlanInput, proceed, type StepResult } from '../model.ts';
import { switchoverCandidate } from './rollout.ts';
import { wantedShards } from './shards.ts';

/** How long a member must have been ready before it may take the primary home: one that keeps failing must not. */
const steadyMs = 120_000;

/** Takes the primary back to its shard's home zone, by a planned switchover, when all members are well. */
export function homeZones({ cluster, observed, now }: PlanInput): StepResult {
  for (const wanted of wantedShards(cluster)) {
    const shard = observed.shards.find((candidate) => candidate.name === wanted.name);
    if (wanted.zone === undefined || shard === undefined || shard.group.state !== 'present') continue;
    const group = shard.group.value;
    const primary = shard.members.find((member) => member.name === group.leader);
    if (primary?.zone === undefined || primary.zone === wanted.zone || group.paused) continue;
    if (!shard.members.every((member) => member.ready)) continue;
    const candidate = switchoverCandidate(
      shard,
      group,
      (member) => member.zone === wanted.zone && readyForMs(member.pod, now) >= steadyMs,
    );
    if (candidate === undefined) continue;
    return {
      kind: 'wait',
      reason: 'GoingHome',
      message: `shard ${shard.name}: the primary goes home to zone ${wanted.zone}, to ${candidate.name}`,
      afterMs: 1_000,
      actions: [{ kind: 'switchover', shard: shard.name, leader: primary.name, candidate: candidate.name }],
    };
  }
  return proceed;
}

function readyForMs(pod: Pod | undefined, now: Date): number {
  const ready = pod?.status?.conditions?.find((condition) => condition.type === 'Ready');
  if (ready?.status !== 'True' || ready.lastTransitionTime === undefined) return 0;
  return now.getTime() - Date.parse(ready.lastTransitionTime);
}
