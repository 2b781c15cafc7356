import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import {
  applyCluster,
  type ClusterKey,
  isReady,
  memberPods,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { type Measured, median, note, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

interface Times {
  /** Apply until Kubernetes calls every member ready. */
  readonly membersReady: number;
  /** Apply until the ShardedCluster says Ready. */
  readonly clusterReady: number;
}

/** How long it takes from apply until all members are ready, in a new namespace each time. */
export async function converge(): Promise<Measured> {
  const runs = runCount(5);
  const one: Times[] = [];
  const two: Times[] = [];
  for (let run = 1; run <= runs; run++) {
    one.push(await converged(1));
    two.push(await converged(2));
    note(
      `${run}/${runs}: 1x3 ${one.at(-1)?.membersReady.toFixed(1)} s, 2x3 ${two.at(-1)?.membersReady.toFixed(1)} s`,
    );
  }
  const middle = (times: readonly Times[]): number => median(times.map(({ membersReady }) => membersReady));
  return {
    reach: [
      reached(targets.converge.oneShard, middle(one), runs),
      reached(targets.converge.twoShards, middle(two), runs),
    ],
    detail: { oneShard: one, twoShards: two },
  };
}

async function converged(shards: number): Promise<Times> {
  const key: ClusterKey = { namespace: await createNamespace('bench'), name: 'fresh' };
  try {
    const begun = performance.now();
    const seconds = (): number => (performance.now() - begun) / 1000;
    await applyCluster(key, { members: 3, shards: { count: shards } });
    await waitFor(
      'all members are ready',
      async () => {
        const pods = await memberPods(key);
        return pods.length === shards * 3 && pods.every(isReady)
          ? { done: true }
          : { state: pods.map((pod) => [pod.metadata.name, isReady(pod)]) };
      },
      { everyMs: 50 },
    );
    const membersReady = seconds();
    await waitUntilReady(key, { everyMs: 50 });
    return { membersReady, clusterReady: seconds() };
  } finally {
    await deleteNamespace(key.namespace);
    await waitFor('the pods are gone', async () => {
      const pods = await memberPods(key);
      return pods.length === 0 ? { done: true } : { state: pods.length };
    });
  }
}
