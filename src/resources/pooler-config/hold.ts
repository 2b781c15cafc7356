import { type Console, openConsole } from '../../postgres/pgbouncer-console.ts';
import { type Clock, pause } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import { messageOf } from '../../runtime/transport.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import type { ConsoleAccess } from './console-access.ts';
import type { GatedShards } from './gated-shards.ts';

/** An instance that shall hold back clients of a database. */
export interface Candidate {
  readonly pod: Pod;
  readonly access: ConsoleAccess;
  readonly database: string;
  /** Its `min_pool_size`. */
  readonly minPoolSize: number;
}

/** One database of one instance whose clients wait. */
export interface Held {
  /** Resolves when no transaction is left. */
  readonly drained: Promise<unknown>;
  release(): Promise<void>;
}

/** What holding works with. */
export interface HoldDependencies {
  readonly gated: GatedShards;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A pooler that cannot be reached holds nobody back: its clients see what they would see without a gate. */
export async function holdBack(
  { pod, access, database, minPoolSize }: Candidate,
  { gated, clock, log }: HoldDependencies,
): Promise<Held | undefined> {
  const key = `${pod.metadata.uid}/${database}`;
  // Who holds it already lets it go, too.
  if (gated.held.has(key)) return undefined;
  gated.held.add(key);
  const warn = (error: unknown, what: string): void => {
    log.warn({ pod: pod.metadata.name, error: messageOf(error) }, what);
  };
  const open = (timeoutMs: number) => openConsole({ ...access.options(pod.status?.podIP ?? ''), timeoutMs });
  let pausing: Console;
  try {
    pausing = await open(1_000);
    await untilNoLogin(pausing, database, clock, 'pause');
  } catch (error) {
    gated.held.delete(key);
    warn(error, 'pooler is not paused');
    return undefined;
  }
  const paused = Promise.all([
    // Even while paused PgBouncer would open connections up to the least number, close them, and turn away who asks next.
    minPoolSize > 0 ? pausing.set('min_pool_size', 0) : undefined,
    pausing.pause(database),
  ]).catch(() => undefined);
  // Another session than the one that waits for the pause has to end it.
  const resuming = open(2_000);
  const resume = async (opening: Promise<Console>): Promise<void> => {
    const console = await opening;
    try {
      await console.resume(database);
      if (minPoolSize > 0) await console.set('min_pool_size', minPoolSize);
    } finally {
      await console.close();
    }
  };
  return {
    // An instance that opens no session is away.
    drained: Promise.race([
      paused,
      resuming.then(
        () => paused,
        () => undefined,
      ),
    ]),
    async release() {
      try {
        await resume(resuming).catch(() => resume(open(2_000)));
      } catch (error) {
        warn(error, 'pooler is not resumed');
      } finally {
        // The guard in the pod resumes what stays paused.
        gated.held.delete(key);
        await pausing.close();
      }
    },
  };
}

/** After what time a login hangs, and how often it is looked. */
const login = { hangsMs: 2_000, everyMs: 20 };
/** How long logins are waited for: while others are held back already, and while nobody is. */
const patienceMs = { pause: 1_000, reconnect: 10_000 };

/**
 * A login that PAUSE or RECONNECT cuts off counts as one that failed: whoever asks next would be turned away. There may be many in a
 * row, since PgBouncer makes one at a time; one that hangs is not worth waiting for.
 */
export async function untilNoLogin(
  console: Console,
  database: string,
  clock: Clock,
  before: keyof typeof patienceMs,
  signal?: AbortSignal,
): Promise<void> {
  const begunMs = clock.monotonicMs();
  let last: string | undefined;
  let sinceMs = begunMs;
  for (;;) {
    const now = clock.monotonicMs();
    const servers = await console.showServers();
    const underWay = servers.find((server) => server.database === database && server.state === 'new')?.ptr;
    if (underWay === undefined) return;
    if (underWay !== last) [last, sinceMs] = [underWay, now];
    if (now - sinceMs >= login.hangsMs || now - begunMs >= patienceMs[before]) return;
    if (signal?.aborted === true) return;
    await pause(clock, login.everyMs, signal);
  }
}
