import type { Clock } from '../../runtime/clock.ts';

/** A session that stands idle until it is needed, or until it ends. */
export interface Session {
  /** Calls back once when it has ended, for whatever reason. */
  onEnd(call: () => void): void;
  close(): Promise<void>;
}

/** What is kept, and how. */
export interface KeeperDependencies<T, S> {
  /** Whom a session shall be kept to at this moment. */
  readonly wanted: () => readonly T[];
  /** Opens one; `undefined` while it is not known how. */
  readonly open: (to: T) => Promise<S | undefined>;
  /** One has ended by itself. */
  readonly onEnd?: (to: T) => void;
  readonly clock: Clock;
}

/** Idle sessions, one to each pod. */
export interface KeptSessions<S> {
  /** Hands over the session to a pod, which is the caller's from now on; another one is opened soon. */
  take(uid: string): S | undefined;
}

/** How often it is looked whether somebody has no session yet, or a session is wanted no more. */
const lookEveryMs = 2_000;

/** Keeps an idle session to each pod that is wanted, until the signal aborts. */
export function keepSessions<T extends { readonly uid: string }, S extends Session>(
  { wanted, open, onEnd, clock }: KeeperDependencies<T, S>,
  signal: AbortSignal,
): KeptSessions<S> {
  /** By uid; `undefined` while it is being opened. */
  const sessions = new Map<string, S | undefined>();

  async function begin(to: T): Promise<void> {
    sessions.set(to.uid, undefined);
    try {
      const session = await open(to);
      if (session === undefined) throw new Error('it cannot be reached yet');
      if (signal.aborted) return await session.close();
      sessions.set(to.uid, session);
      session.onEnd(() => {
        // What was closed on purpose, or taken, is forgotten before it ends.
        if (sessions.get(to.uid) !== session) return;
        sessions.delete(to.uid);
        if (!signal.aborted) onEnd?.(to);
      });
    } catch {
      sessions.delete(to.uid);
    }
  }

  function look(): void {
    if (signal.aborted) return;
    const present = wanted();
    for (const [uid, session] of sessions) {
      if (session === undefined || present.some((to) => to.uid === uid)) continue;
      sessions.delete(uid);
      void session.close();
    }
    for (const to of present) if (!sessions.has(to.uid)) void begin(to);
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
  return {
    take(uid) {
      const session = sessions.get(uid);
      if (session !== undefined) sessions.delete(uid);
      return session;
    },
  };
}
