import { type ConnectOptions, connect } from '../../postgres/connection.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { ShardKey } from '../sharded-cluster/serving.ts';
import { keepSessions, type Session } from './kept-sessions.ts';

/** A primary that clients of poolers depend on. */
export interface WatchedPrimary {
  readonly shard: ShardKey;
  /** Uid of its pod. */
  readonly uid: string;
}

/** What sentinels work with. */
export interface SentinelDependencies {
  /** The primaries of this moment that poolers which hold clients back stand in front of. */
  readonly primaries: () => readonly WatchedPrimary[];
  /** How to reach one; `undefined` while that is not known. */
  readonly options: (primary: WatchedPrimary, signal: AbortSignal) => Promise<ConnectOptions | undefined>;
  readonly onLost: (shard: ShardKey) => void;
  readonly clock: Clock;
}

/**
 * Keeps an idle session on each primary. It ends in the moment in which the server does, long before Kubernetes knows: then
 * `onLost` is called.
 */
export function keepSentinels(
  { primaries, options, onLost, clock }: SentinelDependencies,
  signal: AbortSignal,
): void {
  keepSessions<WatchedPrimary, Session>(
    {
      wanted: primaries,
      async open(primary) {
        const found = await options(primary, signal);
        if (found === undefined) return undefined;
        const session = await connect({ ...found, applicationName: 'herdsman sentinel' });
        // A user's parameter may end what is idle.
        await session.query({ text: 'SET idle_session_timeout = 0' });
        return { onEnd: (call) => session.client.once('end', call), close: () => session.close() };
      },
      onEnd: ({ shard }) => onLost(shard),
      clock,
    },
    signal,
  );
}
