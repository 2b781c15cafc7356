import { isLocalCluster } from '../support/cluster.ts';
import { startHeartbeat } from '../support/heartbeat.ts';
import { applySet, readConfig, waitUntilServing } from '../support/read-replica-set.ts';
import { isWrite, listenToOperator } from '../support/requests.ts';
import { waitFor } from '../support/wait.ts';
import { counted, untilQuiet } from './idle.ts';
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
    const requests = listenToOperator();
    const begun = performance.now();
    note(`counting for ${minutes} min`);
    await waitFor(
      'the time is over',
      () => {
        const passed = performance.now() - begun;
        return passed >= minutes * 60_000 ? { done: true } : { state: passed };
      },
      { timeoutMs: minutes * 60_000 + 60_000, everyMs: 1000 },
    );
    const passed = (performance.now() - begun) / 60_000;
    const ours = requests().filter(({ resource }) => resource !== 'leases');
    return {
      reach: [
        reached(targets.replicas.writes, ours.filter(isWrite).length / passed, 1),
        reached(targets.replicas.requests, ours.length / passed, 1),
      ],
      detail: { requests: counted(ours), stalestReadMs: heartbeat.stalestMs() },
    };
  } finally {
    await heartbeat.stop();
  }
}
