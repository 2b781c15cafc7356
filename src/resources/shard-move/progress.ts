import type { ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import type { CopyProgress } from '../../postgres/move/context.ts';
import type { Clock } from '../../runtime/clock.ts';

type Progress = NonNullable<ShardMoveStatus['progress']>;

/** Follows a copy, and tells of it now and then while it goes on. */
export interface CopyWatch {
  /** Takes note of how far it is. */
  note(progress: CopyProgress): void;
  /** Aborts the copy: whoever asked for the move wants it no more. */
  readonly signal: AbortSignal;
  /** Does the work; tells meanwhile, and at its end. */
  during<T>(work: () => Promise<T>): Promise<T>;
}

/** How often it is told of. */
const everyMs = 3_000;

/** A watch that tells by `tell`, which answers whether the copy is still wanted. */
export function watchCopy(clock: Clock, tell: (progress: Progress) => Promise<boolean>): CopyWatch {
  const abort = new AbortController();
  let beganMs = clock.monotonicMs();
  let latest: CopyProgress | undefined;
  const say = async () => {
    if (latest === undefined) return;
    const isWanted = await tell(progressOf(latest, clock.monotonicMs() - beganMs)).catch(() => true);
    if (!isWanted) abort.abort(new Error('the move is wanted no more'));
  };
  return {
    note: (progress) => {
      latest = progress;
    },
    signal: abort.signal,
    async during(work) {
      let telling: Promise<void> = Promise.resolve();
      let cancel = () => {};
      const next = () => {
        cancel = clock.after(everyMs, () => {
          telling = say().then(next);
        });
      };
      beganMs = clock.monotonicMs();
      next();
      try {
        return await work();
      } finally {
        cancel();
        await telling;
        cancel();
        await say();
      }
    },
  };
}

/** What the status says of a copy that has taken so long. */
export function progressOf({ bytes, total, rows }: CopyProgress, tookMs: number): Progress {
  const bytesPerSecond = Math.round((bytes * 1_000) / Math.max(1, tookMs));
  const left = total - bytes;
  return {
    copiedBytes: bytes,
    totalBytes: total,
    percent: total === 0 ? 100 : Math.floor((bytes * 100) / total),
    rows,
    bytesPerSecond,
    ...(bytesPerSecond === 0 ? {} : { etaSeconds: Math.ceil(left / bytesPerSecond) }),
  };
}
