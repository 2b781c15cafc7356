import { podProblem } from '../../sharded-cluster/kubernetes.ts';
import type { Finding, ObservedReplica } from '../model.ts';

/** A scheduler that has not seen a new volume yet, and a kubelet that has not begun, are not amiss for so long. */
const settlingMs = 10_000;

/** Why the pod of a member cannot run; `undefined` while it does, or has only just been made. */
export function problemOf({ pod }: Pick<ObservedReplica, 'pod'>, now: Date): Finding | undefined {
  const problem = pod === undefined ? undefined : podProblem(pod);
  const createdMs = Date.parse(pod?.metadata.creationTimestamp ?? '');
  return now.getTime() - createdMs < settlingMs ? undefined : problem;
}

/** Members of which the pod cannot run, each with why. */
export function unwell(members: readonly ObservedReplica[], now: Date): Finding[] {
  return members.flatMap((member) => {
    const problem = problemOf(member, now);
    return problem === undefined
      ? []
      : [{ reason: problem.reason, message: `member ${member.name}: ${problem.message}` }];
  });
}
