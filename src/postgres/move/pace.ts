import { setTimeout as sleep } from 'node:timers/promises';

/** Lets bytes pass at a rate; everyone who shares it shares the rate. */
export interface Pace {
  /** Counts bytes, and answers when they may have passed. */
  take(bytes: number): Promise<void>;
}

/** The longest that is made up for when fewer bytes came than might have. */
const burstMs = 100;

/** A pace of so many bytes a second. */
export function createPace(
  bytesPerSecond: number,
  monotonicMs: () => number = () => performance.now(),
  wait: (ms: number) => Promise<unknown> = sleep,
): Pace {
  let freeAtMs = monotonicMs();
  return {
    async take(bytes) {
      const now = monotonicMs();
      freeAtMs = Math.max(freeAtMs, now - burstMs) + (bytes * 1000) / bytesPerSecond;
      if (freeAtMs > now) await wait(freeAtMs - now);
    },
  };
}
