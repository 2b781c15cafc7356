import { type Connection, type ConnectOptions, connect } from '../../postgres/connection.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { ShardKey } from '../sharded-cluster/serving.ts';

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

/** How often it is looked whether a primary has no session yet, or a session no primary any more. */
const lookEveryMs = 2_000;

/**
 * Keeps an idle session on each primary. It ends in the moment in which the server does, long before Kubernetes knows: then
 * `onLost` is called.
 */
export function keepSentinels(
  { primaries, options, onLost, clock }: SentinelDependencies,
  signal: AbortSignal,
): void {
  /** By uid; `undefined` while it is being opened. */
  const sessions = new Map<string, Connection | undefined>();

  async function open(primary: WatchedPrimary): Promise<void> {
    sessions.set(primary.uid, undefined);
    try {
      const found = await options(primary, signal);
      if (found === undefined) throw new Error('the primary cannot be reached yet');
      const session = await connect({ ...found, applicationName: 'herdsman sentinel' });
      // A user's parameter may end what is idle.
      await session.query({ text: 'SET idle_session_timeout = 0' });
      if (signal.aborted) return await session.close();
      sessions.set(primary.uid, session);
      session.client.once('end', () => {
        // What was closed on purpose is forgotten before it ends.
        if (sessions.get(primary.uid) !== session) return;
        sessions.delete(primary.uid);
        if (!signal.aborted) onLost(primary.shard);
      });
    } catch {
      sessions.delete(primary.uid);
    }
  }

  function look(): void {
    if (signal.aborted) return;
    const wanted = primaries();
    for (const [uid, session] of sessions) {
      if (session === undefined || wanted.some((primary) => primary.uid === uid)) continue;
      sessions.delete(uid);
      void session.close();
    }
    for (const primary of wanted) if (!sessions.has(primary.uid)) void open(primary);
    cancel = clock.after(lookEveryMs, look);
  }

  let cancel = clock.after(0, look);
  signal.addEventListener(
    'abort',
    () => {
      cancel();
      for (const session of sessions.values()) void session?.close();
      sessions.clear();
    },
    { once: true },
  );
}
