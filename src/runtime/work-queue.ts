import { type Clock, jittered, systemClock } from './clock.ts';

/** A queue of keys. A key waits at most once, and is never handed out while it is being worked on. */
export interface WorkQueue {
  /** Keys that could be taken now. */
  readonly depth: number;
  /** Queues the key now; if it is being worked on, it comes again after `done`. */
  add(key: string): void;
  /** Queues the key later. Of several, the earliest wins; `add` overtakes it. */
  addAfter(key: string, delayMs: number): void;
  /** Counts a failure, and queues the key after its exponential, jittered backoff, or after the delay that is given. */
  addRateLimited(key: string, delayMs?: number): void;
  /** Forgets the failures of the key. */
  forget(key: string): void;
  /** Failures since the last `forget`. */
  failures(key: string): number;
  /** Waits for a key; `undefined` after `shutDown`. */
  take(): Promise<string | undefined>;
  /** Must follow each `take`, when the work on the key has ended. */
  done(key: string): void;
  /** Takes nothing in any more and hands nothing out; work under way may finish. */
  shutDown(): void;
}

/** What a queue tells about itself. */
export interface WorkQueueObserver {
  depth(keys: number): void;
  /** How long a key waited since it could have been taken. */
  waited(ms: number): void;
  retried(): void;
}

/** How a queue behaves. */
export interface WorkQueueOptions {
  readonly clock?: Clock | undefined;
  readonly random?: (() => number) | undefined;
  /** The first backoff; 200 ms by default. It doubles with each failure. */
  readonly firstBackoffMs?: number | undefined;
  /** 60 s by default. */
  readonly longestBackoffMs?: number | undefined;
  readonly observer?: WorkQueueObserver | undefined;
}

interface Delayed {
  readonly dueMs: number;
  cancel(): void;
}

/** An empty queue. */
export function createWorkQueue(options: WorkQueueOptions = {}): WorkQueue {
  const { clock = systemClock, random = Math.random, observer } = options;
  const { firstBackoffMs = 200, longestBackoffMs = 60_000 } = options;
  /** In order; the value is since when. */
  const ready = new Map<string, number>();
  const working = new Set<string>();
  /** Added while worked on. */
  const dirty = new Set<string>();
  const delayed = new Map<string, Delayed>();
  const failures = new Map<string, number>();
  const takers: ((key: string | undefined) => void)[] = [];
  let open = true;

  function cancelDelay(key: string): void {
    delayed.get(key)?.cancel();
    delayed.delete(key);
  }

  function add(key: string): void {
    if (!open) return;
    cancelDelay(key);
    if (working.has(key)) {
      dirty.add(key);
      return;
    }
    if (ready.has(key)) return;
    const taker = takers.shift();
    if (taker === undefined) {
      ready.set(key, clock.monotonicMs());
      observer?.depth(ready.size);
      return;
    }
    working.add(key);
    observer?.waited(0);
    taker(key);
  }

  function addAfter(key: string, delayMs: number): void {
    if (!open) return;
    if (delayMs <= 0) {
      add(key);
      return;
    }
    if (ready.has(key) || dirty.has(key)) return;
    const dueMs = clock.monotonicMs() + delayMs;
    const other = delayed.get(key);
    if (other !== undefined && other.dueMs <= dueMs) return;
    cancelDelay(key);
    delayed.set(key, { dueMs, cancel: clock.after(delayMs, () => add(key)) });
  }

  return {
    get depth() {
      return ready.size;
    },
    add,
    addAfter,
    addRateLimited(key, delayMs) {
      const count = failures.get(key) ?? 0;
      failures.set(key, count + 1);
      observer?.retried();
      const backoffMs = Math.min(firstBackoffMs * 2 ** count, longestBackoffMs);
      addAfter(key, delayMs ?? jittered(backoffMs, 0.25, random));
    },
    forget: (key) => void failures.delete(key),
    failures: (key) => failures.get(key) ?? 0,
    take() {
      if (!open) return Promise.resolve(undefined);
      for (const [key, sinceMs] of ready) {
        ready.delete(key);
        working.add(key);
        observer?.depth(ready.size);
        observer?.waited(clock.monotonicMs() - sinceMs);
        return Promise.resolve(key);
      }
      return new Promise((resolve) => takers.push(resolve));
    },
    done(key) {
      working.delete(key);
      if (dirty.delete(key)) add(key);
    },
    shutDown() {
      open = false;
      for (const key of delayed.keys()) cancelDelay(key);
      ready.clear();
      dirty.clear();
      observer?.depth(0);
      for (const taker of takers.splice(0)) taker(undefined);
    },
  };
}
