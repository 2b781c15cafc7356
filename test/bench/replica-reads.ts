import type pg from 'pg';
import { startPgbench, tpsOf } from '../support/pgbench.ts';
import { applySet, readConfig, replicaPods, waitUntilServing } from '../support/read-replica-set.ts';
import type { MemberPod } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import type { ReplicaScene } from './replicas.ts';
import { type Measured, median, note, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

const seconds = 10;

/** Reads a second through the Service of one, two and three members, each of which may have 0.2 of a CPU; medians of runs. */
export async function throughput({ cluster, set, spec }: ReplicaScene): Promise<Measured> {
  const resources = { requests: { cpu: '20m', memory: '128Mi' }, limits: { cpu: '200m', memory: '512Mi' } };
  const runs = runCount(5);
  const found: number[][] = [];
  for (const replicas of [1, 2, 3]) {
    await applySet(set, { ...spec, replicas, resources, maxConcurrentClones: 2 });
    await waitFor('members have their limit', async () => {
      const limits = (await replicaPods(set)).map(limitOf);
      const isDone = limits.length === replicas && limits.every((limit) => limit === resources.limits.cpu);
      return isDone ? { done: true } : { state: limits };
    });
    await waitUntilServing(set, replicas);
    const config = await readConfig(set, cluster.name);
    // The first run fills the members' caches, and is not counted.
    await readsPerSecond(config);
    const ofRuns: number[] = [];
    while (ofRuns.length < runs) ofRuns.push(await readsPerSecond(config));
    found.push(ofRuns.map(Math.round));
    note(`${replicas} members: ${found.at(-1)?.join(', ')} TPS`);
  }
  const [one = 0, two = 0, three = 0] = found.map(median);
  return {
    reach: [
      reached(targets.replicas.two, two / (2 * one), runs),
      reached(targets.replicas.three, three / (3 * one), runs),
    ],
    detail: { tps: found },
  };
}

async function readsPerSecond(config: pg.ClientConfig): Promise<number> {
  const { output } = await startPgbench(config, ['-n', '-S', '-c', '24', '-j', '2', '-T', `${seconds}`]);
  return tpsOf(await output);
}

function limitOf({ spec }: MemberPod): string | undefined {
  const found = spec?.containers?.[0]?.resources as
    | { readonly limits?: { readonly cpu?: string } }
    | undefined;
  return found?.limits?.cpu;
}
