import type { SetAction } from '../model.ts';
import type { RotationDecision } from '../rotation.ts';
import type { LagLimits } from '../settings.ts';
import type { ModelMember } from './model.ts';
import { modelPart } from './names.ts';

/**
 * Sessions end that would go on reading where nobody is led to: on a member that is late, or of which the tables are empty since
 * it copies them again. Elsewhere they find what the others have.
 */
export function endStale(
  members: readonly ModelMember[],
  rotation: RotationDecision,
  { maxBytes, maxSeconds }: LagLimits,
  graceMs: number,
): SetAction[] {
  return members.flatMap(({ replica, facts }): SetAction[] => {
    const { name, lag, outMs, work } = replica;
    const isOut = rotation.members.some((member) => member.name === name && member.rotation === 'out');
    const isLate = lag !== undefined && (lag.bytes >= maxBytes || lag.seconds >= maxSeconds);
    const isCopying = facts.state === 'present' && facts.value.copy?.live !== true;
    if (!replica.ready || !isOut || !(isLate || isCopying) || work.has('end-sessions')) return [];
    return [{ kind: 'end-sessions', shard: modelPart, member: name, outMs, graceMs }];
  });
}
