import { isLocalCluster } from '../support/cluster.ts';
import { startHeartbeat } from '../support/heartbeat.ts';
import { applySet, readConfig, waitUntilServing } from '../support/read-replica-set.ts';
import { isWrite } from '../support/requests.ts';
import { counted, requestsOver, untilQuiet } from './idle.ts';
import type { ReplicaScene } from './replicas.ts';
import { type Measured, note, reached } from './report.ts';
import { targets } from './targets.ts';

const minutes = Number(process.env.MINUTES ?? 1);

/** What ten members cost in requests while rows are written, and lag stays within its limits. */
export async function idleMembers({ cluster, set, spec }: ReplicaScene): Promise<Measured> {
  if (!isLocalCluster()) throw new Error('the requests are counted in the audit log of the local cluster');
  await applySet(set, { ...spec, replicas: 10, maxConcurrentClones: 4 });
  await waitUntilServing(set, 10);
  const shard = { namespace: cluster.namespace, cluster: cluster.name };
  const heartbeat = await startHeartbeat(shard, await readConfig(set, cluster.name));
  try {
    await untilQuiet();
    note(`counting for ${minutes} min`);
    const { requests, seconds } = await requestsOver(minutes);
    const ours = requests.filter(({ resource }) => resource !== 'leases');
    return {
      reach: [
        reached(targets.replicas.writes, ours.filter(isWrite).length / (seconds / 60), 1),
        reached(targets.replicas.requests, ours.length / (seconds / 60), 1),
      ],
      detail: { requests: counted(ours), stalestReadMs: heartbeat.stalestMs() },
    };
  } finally {
    await heartbeat.stop();
  }
}
