import { readFileSync } from 'node:fs';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { deploymentType, podType } from '../../src/runtime/kubernetes-types.ts';
import { kube, root } from './cluster.ts';
import { kubectl } from './kubectl.ts';
import { operatorNamespace } from './operator.ts';
import { postmasterOf, processesOf, signalAll } from './processes.ts';
import { run } from './program.ts';
import { type ClusterKey, type MemberPod, memberPods, primaryPod } from './sharded-cluster.ts';
import { waitFor } from './wait.ts';

/** Something that breaks, and how it is mended. */
export interface Fault {
  readonly name: string;
  /** Whether writers end on another server, or the same one started anew; if not, they may hardly notice. */
  readonly takesPrimary: boolean;
  /** Breaks a shard; the returned function mends what does not mend by itself. */
  inject(key: ClusterKey, shard: string): Promise<() => Promise<void>>;
}

const nothing = async (): Promise<void> => undefined;

/** A member of a shard that does not lead. */
export async function aStandby(key: ClusterKey, shard: string): Promise<MemberPod> {
  const primary = await primaryPod(key, shard);
  const standby = (await memberPods(key, shard)).find((pod) => pod.metadata.uid !== primary.metadata.uid);
  if (standby === undefined) throw new Error(`${key.name}-${shard} has no standby`);
  return standby;
}

/** Deletes a pod without giving it time to end. */
export async function deleteByForce(pod: MemberPod): Promise<void> {
  const { namespace = '', name } = pod.metadata;
  await (await kube()).delete(podType, { namespace, name }, { gracePeriodSeconds: 0 });
}

/** Has Patroni hand over from the primary to a standby, as somebody does by hand. */
export async function switchOver(key: ClusterKey, primary: MemberPod, shard = 's0'): Promise<void> {
  const standby = await aStandby(key, shard);
  const { name } = primary.metadata;
  const words = ['switchover', '--force', '--leader', name, '--candidate', standby.metadata.name];
  await kubectl(['exec', '-n', key.namespace, name, '--', 'patronictl', ...words]);
}

/** Stops every process of a pod where it stands: the node thinks it runs, and it answers nothing. */
export function freeze(pod: MemberPod): () => Promise<void> {
  const processes = processesOf(pod.metadata.uid ?? '');
  if (processes.length === 0) throw new Error(`${pod.metadata.name} runs no process on this machine`);
  signalAll(processes, 'SIGSTOP');
  return async () => signalAll(processes, 'SIGCONT');
}

/** What a postmaster writes about itself: `starting` until it takes connections; nothing while the file is another's. */
function serverState(pid: number): string | undefined {
  const [writer, ...lines] = readFileSync(`/proc/${pid}/cwd/postmaster.pid`, 'utf8').split('\n');
  const inContainer = /^NSpid:.*\s(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return writer === inContainer ? lines[6]?.trim() : undefined;
}

/** Kills the server of a pod and stops the one that is started in its place where it stands, before it takes connections. */
export async function freezeStart(pod: MemberPod): Promise<() => Promise<void>> {
  const uid = pod.metadata.uid ?? '';
  return waitFor('a server that starts', async () => {
    const before = postmasterOf(uid);
    signalAll([before], 'SIGKILL');
    // Children that outlive it and `postgres --version` come before.
    const next = await waitFor(
      'another server that says that it starts',
      () => {
        const now = postmasterOf(uid);
        const isStarting = now.pid !== before.pid && serverState(now.pid) === 'starting';
        return isStarting ? { done: now } : { state: now };
      },
      { everyMs: 2, timeoutMs: 20_000 },
    );
    signalAll([next], 'SIGSTOP');
    const thaw = async () => signalAll([next], 'SIGCONT');
    const state = serverState(next.pid);
    if (state === 'starting') return { done: thaw };
    await thaw();
    return { state };
  });
}

async function breakNode(pod: MemberPod, how: 'partition' | 'stop'): Promise<() => Promise<void>> {
  const node = pod.spec?.nodeName ?? '';
  await run(`${root}deploy/local/node`, [how, node]);
  return async () => {
    await run(`${root}deploy/local/node`, ['heal', node]);
  };
}

/** Scales the operator to nothing, and waits until none of it is left; the returned function brings it back. */
export async function takeOperatorAway(): Promise<() => Promise<void>> {
  const client = await kube();
  const key = { namespace: operatorNamespace, name: 'herdsman' };
  const deployment = await client.get<KubernetesObject & { spec?: { replicas?: number } }>(
    deploymentType,
    key,
  );
  const scale = async (replicas: number): Promise<void> => {
    await client.patch(deploymentType, key, { spec: { replicas } }, { type: 'merge' });
  };
  await scale(0);
  await waitFor('no operator runs', async () => {
    const { items } = await client.list(podType, {
      namespace: operatorNamespace,
      labelSelector: 'app.kubernetes.io/name=herdsman',
    });
    return items.length === 0 ? { done: true } : { state: items.map(({ metadata }) => metadata.name) };
  });
  return () => scale(deployment?.spec?.replicas ?? 2);
}

/** The process id of a part of the control plane of the local cluster. */
function controlPlanePid(name: string): number {
  return Number.parseInt(readFileSync(`/run/herdsman-local/pids/${name}`, 'utf8'), 10);
}

/** Every fault that the local cluster can make, by name. */
export const faults = {
  'primary pod deleted by force': {
    takesPrimary: true,
    async inject(key, shard) {
      await deleteByForce(await primaryPod(key, shard));
      return nothing;
    },
  },
  'primary postgres killed': {
    takesPrimary: true,
    async inject(key, shard) {
      signalAll([postmasterOf((await primaryPod(key, shard)).metadata.uid ?? '')], 'SIGKILL');
      return nothing;
    },
  },
  'primary container killed': {
    takesPrimary: true,
    async inject(key, shard) {
      signalAll(processesOf((await primaryPod(key, shard)).metadata.uid ?? ''), 'SIGKILL');
      return nothing;
    },
  },
  'primary container frozen': {
    takesPrimary: true,
    inject: async (key, shard) => freeze(await primaryPod(key, shard)),
  },
  'primary node partitioned': {
    takesPrimary: true,
    inject: async (key, shard) => breakNode(await primaryPod(key, shard), 'partition'),
  },
  'primary node lost': {
    takesPrimary: true,
    inject: async (key, shard) => breakNode(await primaryPod(key, shard), 'stop'),
  },
  'primary pod and a standby deleted by force': {
    takesPrimary: true,
    async inject(key, shard) {
      const pods = [await primaryPod(key, shard), await aStandby(key, shard)];
      await Promise.all(pods.map(deleteByForce));
      return nothing;
    },
  },
  'primary pod deleted while the operator is away': {
    takesPrimary: true,
    async inject(key, shard) {
      const bringBack = await takeOperatorAway();
      await deleteByForce(await primaryPod(key, shard));
      return bringBack;
    },
  },
  'standby pod deleted by force': {
    takesPrimary: false,
    async inject(key, shard) {
      await deleteByForce(await aStandby(key, shard));
      return nothing;
    },
  },
  'standby container frozen': {
    takesPrimary: false,
    inject: async (key, shard) => freeze(await aStandby(key, shard)),
  },
  'API server frozen': {
    takesPrimary: false,
    async inject() {
      const pid = controlPlanePid('kube-apiserver');
      process.kill(pid, 'SIGSTOP');
      return async () => {
        process.kill(pid, 'SIGCONT');
      };
    },
  },
} satisfies Record<string, Omit<Fault, 'name'>>;

/** Name of a fault. */
export type FaultName = keyof typeof faults;

/** All names, in the order of the matrix. */
export const faultNames = Object.keys(faults) as FaultName[];

/** The fault of a name. */
export function faultOf(name: FaultName): Fault {
  return { name, ...faults[name] };
}
