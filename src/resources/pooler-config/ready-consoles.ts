import { type Console, openConsole } from '../../postgres/pgbouncer-console.ts';
import type { Clock } from '../../runtime/clock.ts';
import { isPodReady } from '../sharded-cluster/kubernetes.ts';
import type { ConsoleAccess } from './console-access.ts';
import { longestPauseMs } from './holding.ts';
import { type KeptSessions, keepSessions } from './kept-sessions.ts';
import type { PoolerConfig } from './model.ts';
import { poolerLabel } from './names.ts';
import type { PoolerSources } from './sources.ts';

/** Consoles that are open before they are needed: what is lost in a failover is what clients ask before they are held back. */
export interface ReadyConsoles {
  /** Hands over the one of a pod, if there is one; its caller closes it. */
  take(uid: string): Console | undefined;
  /** Keeps one open to each instance that holds clients back, until the signal aborts. */
  keep(signal: AbortSignal): void;
}

/** What they are made with. */
export interface ReadyConsolesDependencies {
  readonly poolerSources: PoolerSources;
  /** Reads how to reach the consoles of a PoolerConfig. */
  readonly access: (
    pooler: Pick<PoolerConfig, 'metadata'>,
    signal: AbortSignal,
  ) => Promise<ConsoleAccess | undefined>;
  readonly clock: Clock;
}

interface Instance {
  readonly uid: string;
  readonly pooler: PoolerConfig;
  readonly address: string;
}

/** None is open yet. */
export function createReadyConsoles({
  poolerSources: { poolers, pods },
  access,
  clock,
}: ReadyConsolesDependencies): ReadyConsoles {
  let kept: KeptSessions<Console> | undefined;

  function instances(): Instance[] {
    return pods.cache.list().flatMap((pod): Instance[] => {
      const { namespace = '', labels = {}, uid } = pod.metadata;
      const address = pod.status?.podIP;
      const pooler = poolers.cache.get({ namespace, name: labels[poolerLabel] ?? '' });
      if (uid === undefined || address === undefined || pooler === undefined || !isPodReady(pod)) return [];
      return longestPauseMs(pooler) === 0 ? [] : [{ uid, pooler, address }];
    });
  }

  return {
    take: (uid) => kept?.take(uid),
    keep(signal) {
      kept = keepSessions<Instance, Console>(
        {
          wanted: instances,
          async open({ pooler, address }) {
            const found = await access(pooler, signal);
            return found === undefined
              ? undefined
              : openConsole({ ...found.options(address), timeoutMs: 1_000 });
          },
          clock,
        },
        signal,
      );
    },
  };
}
