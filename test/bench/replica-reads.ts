import { startPgbench } from '../support/pgbench.ts';
import { applySet, readConfig, replicaPods, waitUntilServing } from '../support/read-replica-set.ts';
import type { MemberPod } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import type { ReplicaScene } from './replicas.ts';
import { type Measured, note, reached } from './report.ts';
import { targets } from './targets.ts';

const seconds = 20;

/** Reads a second through the Service of one, two and three members, each of which may have 0.2 of a CPU. */
export async function throughput({ cluster, set, spec }: ReplicaScene): Promise<Measured> {
  const resources = { requests: { cpu: '20m', memory: '128Mi' }, limits: { cpu: '200m', memory: '512Mi' } };
  const tps: number[] = [];
  for (const replicas of [1, 2, 3]) {
    await applySet(set, { ...spec, replicas, resources, maxConcurrentClones: 2 });
    await waitFor('members have their limit', async () => {
      const limits = (await replicaPods(set)).map(limitOf);
      const isDone = limits.length === replicas && limits.every((limit) => limit === resources.limits.cpu);
      return isDone ? { done: true } : { state: limits };
    });
    await waitUntilServing(set, replicas);
    const words = ['-n', '-S', '-c', '24', '-j', '2', '-T', `${seconds}`];
    const { output } = await startPgbench(await readConfig(set, cluster.name), words);
    tps.push(Number(/^tps = ([0-9.]+)/m.exec(await output)?.[1] ?? 0));
    note(`${replicas} members: ${tps.at(-1)?.toFixed(0)} TPS`);
  }
  const [one = 0, two = 0, three = 0] = tps;
  return {
    reach: [
      reached(targets.replicas.two, two / (2 * one), 1),
      reached(targets.replicas.three, three / (3 * one), 1),
    ],
    detail: { tps: tps.map(Math.round) },
  };
}

function limitOf({ spec }: MemberPod): string | undefined {
  const found = spec?.containers?.[0]?.resources as
    | { readonly limits?: { readonly cpu?: string } }
    | undefined;
  return found?.limits?.cpu;
}
