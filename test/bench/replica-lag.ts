import { startHeartbeat } from '../support/heartbeat.ts';
import {
  applySet,
  holdReplay,
  patientReplay,
  readConfig,
  replicaPods,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { followEndpoints } from '../support/service-endpoints.ts';
import { waitFor } from '../support/wait.ts';
import type { ReplicaScene } from './replicas.ts';
import { type Measured, note, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

const maxSeconds = 4;

/** How soon a member that stands still is out of the Service, and how old what is read meanwhile gets. */
export async function lateMembers({ cluster, set, spec }: ReplicaScene): Promise<Measured> {
  const runs = runCount(5);
  const shard = { namespace: cluster.namespace, cluster: cluster.name };
  await applySet(set, { ...spec, replicas: 2, lag: { maxSeconds }, parameters: patientReplay });
  await waitUntilServing(set, 2);
  const heartbeat = await startHeartbeat(shard, await readConfig(set, cluster.name), { staysOn: 2 });
  const endpoints = await followEndpoints(set.namespace, `${set.name}-s0-read`);
  const seconds: number[] = [];
  try {
    for (let run = 1; run <= runs; run += 1) {
      const [late] = await replicaPods(set);
      if (late === undefined) throw new Error('there is no member');
      const isIn = () =>
        endpoints
          .history()
          .at(-1)
          ?.includes(late.status?.podIP ?? '') === true;
      await waitFor('its address is in the Service', () =>
        isIn() ? { done: true } : { state: endpoints.history().at(-1) },
      );
      const release = await holdReplay(shard, [late]);
      // What is committed from here on it does not show.
      const begun = performance.now();
      await waitFor(
        'its address is out of the Service',
        () => (isIn() ? { state: endpoints.history().at(-1) } : { done: true }),
        { everyMs: 5 },
      );
      seconds.push((performance.now() - begun) / 1000 - maxSeconds);
      note(`lag ${run}/${runs}: out after ${seconds.at(-1)?.toFixed(2)} s over the limit`);
      await release();
      await waitUntilServing(set, 2);
    }
  } finally {
    await heartbeat.stop();
    endpoints.stop();
  }
  const beyond = Math.max(0, heartbeat.stalestMs() / 1000 - maxSeconds);
  return {
    reach: [
      reached(targets.replicas.leave, Math.max(...seconds), runs),
      reached(targets.replicas.stale, beyond, runs),
    ],
    detail: {
      leaveSeconds: seconds,
      stalestReadMs: heartbeat.stalestMs(),
      reads: heartbeat.reads(),
      endedSessions: heartbeat.ended(),
      failedReads: Object.fromEntries(heartbeat.errors),
    },
  };
}
