import type { ShardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import type { CopyProgress } from '../../postgres/move/context.ts';
import type { Clock } from '../../runtime/clock.ts';

/** Why the status says that a copy has not begun. */
const olderTransactions = 'OlderTransactions';

type Progress = NonNullable<ShardMoveStatus['progress']>;
type Lag = Required<Pick<ShardMoveStatus, 'lagBytes'>>;

/** What is told of a step that takes long: how far a copy is or that it waits, or how far the stream is behind, where one goes on. */
export type Told = Progress | Lag | 'older-transactions' | undefined;

/** Follows the steps that take long: tells now and then how far a copy is, and asks whether the move is still wanted. */
export interface StepWatch {
  /** Takes note of how far the copy is. */
  note(progress: CopyProgress): void;
  /** Takes note of whether the copy waits for older transactions. */
  noteWait(isWaiting: boolean): void;
  /** Aborts the step: whoever asked for the move wants it no more. */
  readonly signal: AbortSignal;
  /** Does the work of a step; asks and tells meanwhile, and tells at its end. `lag` asks for the bytes that the stream is behind. */
  during<T>(work: () => Promise<T>, lag?: () => Promise<number | undefined>): Promise<T>;
}

/** How often it asks and tells. */
const everyMs = 3_000;

/** A watch that tells by `tell`, which answers whether the move is still wanted; of a step that copies nothing there is no progress. */
export function watchSteps(clock: Clock, tell: (told: Told) => Promise<boolean>): StepWatch {
  const abort = new AbortController();
  let beganMs = clock.monotonicMs();
  let latest: CopyProgress | undefined;
  let isWaiting = false;
  let readLag: (() => Promise<number | undefined>) | undefined;
  const found = async (): Promise<Told> => {
    if (isWaiting) return 'older-transactions';
    if (latest !== undefined) return progressOf(latest, clock.monotonicMs() - beganMs);
    const lagBytes = await readLag?.().catch(() => undefined);
    return lagBytes === undefined ? undefined : { lagBytes };
  };
  const say = async () => {
    const isWanted = await tell(await found()).catch(() => true);
    if (!isWanted) abort.abort(new Error('the move is wanted no more'));
  };
  return {
    note: (progress) => {
      latest = progress;
    },
    noteWait: (waits) => {
      isWaiting = waits;
    },
    signal: abort.signal,
    async during(work, lag) {
      let telling: Promise<void> = Promise.resolve();
      let cancel = () => {};
      const next = () => {
        cancel = clock.after(everyMs, () => {
          telling = say().then(next);
        });
      };
      beganMs = clock.monotonicMs();
      latest = undefined;
      isWaiting = false;
      readLag = lag;
      next();
      try {
        return await work();
      } finally {
        cancel();
        await telling;
        cancel();
        if (latest !== undefined) await say();
      }
    },
  };
}

/** The status with what is told during a step that takes long: the same one when that is nothing new. */
export function withProgress(status: ShardMoveStatus, told: Told): ShardMoveStatus {
  const { message, ...rest } = status;
  if (told === 'older-transactions') {
    const waits = `${olderTransactions}: the copy begins when the transactions that were open on shard ${status.from} have ended`;
    return message === waits ? status : { ...status, message: waits };
  }
  if (told !== undefined && 'lagBytes' in told)
    return status.lagBytes === told.lagBytes ? status : { ...status, ...told };
  if (told !== undefined) return { ...rest, progress: told };
  return message?.startsWith(olderTransactions) === true ? rest : status;
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
