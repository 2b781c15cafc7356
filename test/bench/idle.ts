import { readFileSync } from 'node:fs';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { leaseType, podType } from '../../src/runtime/kubernetes-types.ts';
import { isLocalCluster, kube } from '../support/cluster.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { operatorNamespace } from '../support/operator.ts';
import { processesOf } from '../support/processes.ts';
import { isWrite, listenToOperator, type OperatorRequest } from '../support/requests.ts';
import { applyCluster, shardedClusterType, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { type Measured, note, reached } from './report.ts';
import { targets } from './targets.ts';

const minutes = Number(process.env.MINUTES ?? 3);
const clusters = Number(process.env.CLUSTERS ?? 3);
/** Clock ticks a second in /proc, on every Linux that Node runs on. */
const ticksPerSecond = 100;

/** What the operator asks of the API server, and what it takes, while nothing changes. */
export async function idle(): Promise<Measured> {
  if (!isLocalCluster()) throw new Error('the requests are counted in the audit log of the local cluster');
  const namespace = await createNamespace('bench');
  try {
    const keys = Array.from({ length: clusters }, (_, index) => ({ namespace, name: `idle-${index}` }));
    for (const key of keys) await applyCluster(key, { members: key.name === 'idle-0' ? 3 : 1 });
    for (const key of keys) await waitUntilReady(key);
    await untilQuiet();
    const { items } = await (await kube()).listAll(shardedClusterType);
    const pods = await operatorPods();
    const before = pods.map(({ uid }) => usage(uid));
    note(`counting for ${minutes} min, ${items.length} clusters in all`);
    const { requests: all, seconds } = await requestsOver(minutes);
    const after = pods.map(({ uid }) => usage(uid));
    const isLease = ({ resource }: OperatorRequest): boolean => resource === 'leases';
    const ours = all.filter((request) => !isLease(request));
    const perMinute = ours.length / (seconds / 60) / items.length;
    const leader = await leaderOf(pods);
    return {
      reach: [
        reached(targets.idle.requests, perMinute, 1),
        reached(targets.idle.writes, ours.filter(isWrite).length, 1),
        reached(targets.idle.memory, after[leader]?.residentMiB ?? Number.NaN, 1),
      ],
      detail: {
        seconds: Math.round(seconds),
        clusters: items.length,
        requests: counted(ours),
        leaseRequestsPerMinute: Math.round((all.filter(isLease).length / seconds) * 600) / 10,
        pods: pods.map(({ name }, index) => ({
          name,
          leads: index === leader,
          residentMiB: Math.round(after[index]?.residentMiB ?? 0),
          cpuMillicores:
            Math.round(
              (((after[index]?.cpuSeconds ?? 0) - (before[index]?.cpuSeconds ?? 0)) / seconds) * 10_000,
            ) / 10,
        })),
      },
    };
  } finally {
    await deleteNamespace(namespace);
  }
}

/** What the operator asks of the API server in so many minutes, and how long they were. */
export async function requestsOver(
  minutes: number,
): Promise<{ readonly requests: readonly OperatorRequest[]; readonly seconds: number }> {
  const requests = listenToOperator();
  const begun = performance.now();
  await waitFor(
    'the time is over',
    () => {
      const passed = performance.now() - begun;
      return passed >= minutes * 60_000 ? { done: true } : { state: passed };
    },
    { timeoutMs: minutes * 60_000 + 60_000, everyMs: 1000 },
  );
  const seconds = (performance.now() - begun) / 1000;
  return { requests: requests(), seconds };
}

/** Waits until the operator has written nothing for 20 s: what the set-up left is done. */
export async function untilQuiet(): Promise<void> {
  const requests = listenToOperator();
  const begun = Date.now();
  await waitFor(
    'the operator comes to rest',
    () => {
      const writes = requests().filter((request) => isWrite(request) && request.resource !== 'leases');
      const last = writes.at(-1);
      return Date.now() - (last?.atMs ?? begun) > 20_000 ? { done: true } : { state: last };
    },
    { timeoutMs: 300_000, everyMs: 1000 },
  );
}

interface OperatorPod {
  readonly name: string;
  readonly uid: string;
}

async function operatorPods(): Promise<OperatorPod[]> {
  const { items } = await (await kube()).list(podType, {
    namespace: operatorNamespace,
    labelSelector: 'app.kubernetes.io/name=herdsman',
  });
  return items.map(({ metadata }) => ({ name: metadata.name, uid: metadata.uid ?? '' }));
}

/** Index of the pod that holds the Lease. */
async function leaderOf(pods: readonly OperatorPod[]): Promise<number> {
  const lease = await (await kube()).get<KubernetesObject & { spec?: { holderIdentity?: string } }>(
    leaseType,
    {
      namespace: operatorNamespace,
      name: 'herdsman',
    },
  );
  const holder = lease?.spec?.holderIdentity ?? '';
  const index = pods.findIndex(({ name }) => holder.startsWith(name));
  if (index < 0) throw new Error(`no pod of the operator is ${holder}`);
  return index;
}

interface Usage {
  readonly residentMiB: number;
  readonly cpuSeconds: number;
}

/** Memory and CPU time of all processes of a pod. */
function usage(podUid: string): Usage {
  const processes = processesOf(podUid);
  if (processes.length === 0) throw new Error(`pod ${podUid} runs no process on this machine`);
  return processes.reduce<Usage>(
    (sum, { pid }) => {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const resident = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0);
      // After the name in brackets come state (3), …, utime (14) and stime (15).
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      const ticks = Number(stat[11]) + Number(stat[12]);
      return {
        residentMiB: sum.residentMiB + resident / 1024,
        cpuSeconds: sum.cpuSeconds + ticks / ticksPerSecond,
      };
    },
    { residentMiB: 0, cpuSeconds: 0 },
  );
}

/** Requests by verb and resource. */
export function counted(requests: readonly OperatorRequest[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { verb, resource } of requests) {
    const key = `${verb} ${resource}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}
