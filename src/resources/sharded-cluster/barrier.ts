/** Somebody who was waited for will not come. */
export class BrokenBarrier extends Error {
  override readonly name = 'BrokenBarrier';
}

/** Lets a number of parties go on only together. */
export interface Barrier {
  /** Resolves when all have arrived or passed; rejects with `BrokenBarrier` when one of them gave up. */
  readonly arrive: () => Promise<void>;
  /** Counts as arrived, without waiting. */
  readonly pass: () => void;
  /** Gives up for all. */
  readonly break: (reason: unknown) => void;
}

/** A barrier for so many parties. */
export function createBarrier(parties: number): Barrier {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Nobody may be waiting yet when it breaks.
  promise.catch(() => undefined);
  let missing = parties;
  const count = (): void => {
    missing -= 1;
    if (missing === 0) resolve();
  };
  return {
    arrive: () => {
      count();
      return promise;
    },
    pass: count,
    break: (reason) => reject(new BrokenBarrier('another party gave up', { cause: reason })),
  };
}
