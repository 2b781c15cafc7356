/** A queue of keys. A key waits at most once, and is never handed out while it is being worked on. */
export interface WorkQueue {
  /** Keys that could be taken now. */
  readonly depth: number;
  /** Queues the key now; if it is being worked on, it comes again after `done`. */
  add(key: string): void;
  /** Queues the key later. Of several, the earliest wins; `add` overtakes it. */
  addAfter(key: string, delayMs: number): void;
  /** Queues the key after its exponential, jittered backoff, and counts a failure. */
  addRateLimited(key: string): void;
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
