import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';
import { leaderPod, waitForSuccessor } from './leader.ts';
import { bucketOf, readMove, release } from './move-scene.ts';
import { operatorNamespace } from './operator.ts';
import { processesOf, signalAll } from './processes.ts';
import { run } from './program.ts';
import { type ClusterKey, type MemberPod, memberPods, primaryPod } from './sharded-cluster.ts';
import { waitFor } from './wait.ts';

/** A move that stands before a step. */
export interface HeldMove {
  readonly key: ClusterKey;
  readonly name: string;
  readonly bucket: number;
  readonly from: string;
  readonly to: string;
  readonly held: ShardMove;
}

/** How long the network between the shards is cut. */
const cutMs = 15_000;

/** What breaks while a move stands before a step; each lets it go on when it is broken, and mends what does not mend itself. */
export const moveFaults = {
  'operator killed': async (move) => {
    const leader = await leaderPod();
    await kill(leader);
    await release(move.key, move.name);
    await waitForSuccessor(leader);
  },

  'operator paused until its successor has acted': async (move) => {
    const leader = await leaderPod();
    const processes = processesOf(leader.metadata.uid ?? '');
    signalAll(processes, 'SIGSTOP');
    try {
      await release(move.key, move.name);
      await waitForSuccessor(leader);
      await waitUntilItActed(move);
    } finally {
      signalAll(processes, 'SIGCONT');
    }
    await waitUntilEnded(leader);
  },

  'source primary killed': async (move) => {
    await kill(await primaryPod(move.key, move.from));
    await release(move.key, move.name);
  },

  'target primary killed': async (move) => {
    await kill(await primaryPod(move.key, move.to));
    await release(move.key, move.name);
  },

  'network between the shards cut': async (move) => {
    const { key, from, to } = move;
    const mend = await cut(await memberPods(key, from), await memberPods(key, to));
    try {
      await release(move.key, move.name);
      await new Promise((resolve) => setTimeout(resolve, cutMs));
    } finally {
      await mend();
    }
  },
} satisfies Record<string, (move: HeldMove) => Promise<void>>;

/** Name of one. */
export type MoveFaultName = keyof typeof moveFaults;

/** All names. */
export const moveFaultNames = Object.keys(moveFaults) as MoveFaultName[];

/** Ends every process of a pod at once, and the pod, so that its successor need not wait for a restart's back-off. */
async function kill({ metadata }: KubernetesObject): Promise<void> {
  signalAll(processesOf(metadata.uid ?? ''), 'SIGKILL');
  const { namespace = '', name } = metadata;
  await (await kube()).delete(podType, { namespace, name }, { gracePeriodSeconds: 0 });
}

/** The successor has written what it did to the status, or to the map. */
async function waitUntilItActed({ key, name, bucket, held }: HeldMove): Promise<void> {
  const progressOf = ({ status }: ShardMove) =>
    JSON.stringify([status?.phase, status?.attempt, status?.copy, status?.ending, status?.failures]);
  const before = progressOf(held);
  const { epoch } = await bucketOf(key, bucket);
  await waitFor(
    'the successor has acted',
    async () => {
      const now = progressOf(await readMove(key, name));
      const hasChanged = now !== before || (await bucketOf(key, bucket)).epoch !== epoch;
      return hasChanged ? { done: true } : { state: now };
    },
    { everyMs: 20 },
  );
}

/** A leader that finds its lease gone ends; its pod is replaced, for the same reason as above. */
async function waitUntilEnded({ metadata }: KubernetesObject): Promise<void> {
  const processes = processesOf(metadata.uid ?? '').map(({ pid }) => pid);
  await waitFor('the paused operator has ended', () => {
    const left = processesOf(metadata.uid ?? '').filter(({ pid }) => processes.includes(pid));
    return left.length === 0 ? { done: true } : { state: left };
  });
  await (await kube()).delete(
    podType,
    { namespace: operatorNamespace, name: metadata.name },
    { gracePeriodSeconds: 0 },
  );
}

/** Has the pods of one shard drop what comes from the other's, and what goes there; the rules go with the pods. */
async function cut(pods: readonly MemberPod[], others: readonly MemberPod[]): Promise<() => Promise<void>> {
  const addresses = others.flatMap(({ status }) => (status?.podIP === undefined ? [] : [status.podIP]));
  const networks = pods.flatMap(({ metadata }) => processesOf(metadata.uid ?? '').slice(0, 1));
  const filter = async (what: '-I' | '-D') => {
    for (const { pid } of networks) {
      for (const address of addresses) {
        const iptables = ['-t', String(pid), '-n', 'iptables', '-w'];
        await run('nsenter', [...iptables, what, 'INPUT', '-s', address, '-j', 'DROP']);
        await run('nsenter', [...iptables, what, 'OUTPUT', '-d', address, '-j', 'DROP']);
      }
    }
  };
  await filter('-I');
  return () => filter('-D');
}
