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

/** A member that has not begun by then does not begin by waiting. */
const stuckMs = 600_000;
/** So many restarts are no accident, unless the container has gone on for `stuckMs` since the last. */
const manyRestarts = 3;

/**
 * Why a member will not become ready by waiting; `undefined` while it is, and while it may only be slow: a copy takes as long as
 * it takes, and its pod has nothing amiss.
 */
export function stuckBy(
  { ready, pod }: Pick<ObservedReplica, 'ready' | 'pod'>,
  now: Date,
): Finding | undefined {
  if (ready || pod === undefined || pod.metadata.deletionTimestamp !== undefined) return undefined;
  const isOld = (time: string | undefined) => now.getTime() - Date.parse(time ?? '') >= stuckMs;
  if (!isOld(pod.metadata.creationTimestamp)) return undefined;
  const problem = podProblem(pod);
  // That is also what a kubelet says of one that has failed once after hours, and is about to go on.
  if (problem !== undefined && problem.reason !== 'CrashLoopBackOff') return problem;
  const restarting = pod.status?.containerStatuses?.find(
    ({ restartCount = 0, state }) => restartCount >= manyRestarts && !isOld(state?.running?.startedAt),
  );
  if (restarting === undefined) return undefined;
  const message = `container ${restarting.name} has been started anew ${restarting.restartCount} times: look at its log`;
  return problem ?? { reason: 'Restarting', message };
}

/** Members of which the pod cannot run, each with why. */
export function unwell(members: readonly ObservedReplica[], now: Date): Finding[] {
  return members.flatMap((member): Finding[] => {
    const stuck = stuckBy(member, now);
    const problem = stuck ?? problemOf(member, now);
    if (problem === undefined) return [];
    const note = stuck === undefined ? '' : '. Other members do not wait for it to be copied';
    return [{ reason: problem.reason, message: `member ${member.name}: ${problem.message}${note}` }];
  });
}
