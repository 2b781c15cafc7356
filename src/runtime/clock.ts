/** Time as the runtime sees it, so that tests can hold it in their hands. */
export interface Clock {
  /** Wall-clock time: for timestamps that others read, never for measuring. */
  now(): Date;
  /** Milliseconds that only ever grow, whatever happens to the wall clock. */
  monotonicMs(): number;
  /** Calls `callback` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

/** setTimeout's delay is a signed 32-bit number: a longer one would fire at once. */
const longestTimeoutMs = 2 ** 31 - 1;

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(delayMs, 0), longestTimeoutMs));
    return () => clearTimeout(timer);
  },
};

/** Waits, and returns early (without throwing) when the signal aborts. */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = (): void => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = clock.after(delayMs, finish);
    signal?.addEventListener('abort', finish, { once: true });
  });
}

/** `metav1.MicroTime`: RFC 3339 with exactly six digits; the API server refuses a Lease with fewer. */
export function microTime(time: Date): string {
  return time.toISOString().replace('Z', '000Z');
}

/** A random delay of `baseMs` ± `share`, so that many clients do not act in step. */
export function jittered(baseMs: number, share: number, random: () => number): number {
  return baseMs * (1 - share + 2 * share * random());
}
