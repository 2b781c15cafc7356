import { type Clock, pause, systemClock } from '../../runtime/clock.ts';

/** How long a pass waits for an end. */
const patienceMs = 2_000;

/** What was asked for has not ended, or waits for something that has not: a later pass asks again. */
export class UnderWay extends Error {
  constructor(what: string) {
    super(`${what} is under way`);
    this.name = 'UnderWay';
  }
}

/** Something that may take minutes. */
export interface Piece {
  /** Pieces of a line come one after the other. */
  readonly line: string;
  /** What it is, for people. */
  readonly what: string;
  /** What tells it from another one of the same name. */
  readonly identity: string;
  /** Whether nothing of another line may be under way with it. */
  readonly isAlone?: boolean;
}

/** What passes begin and do not wait for to its end: they go on with all else, and one of them is told how it ended. */
export interface LongWork {
  /** What has not ended. */
  readonly underWay: string | undefined;
  /** Begins a piece, or goes on waiting for it. Throws `UnderWay`, or once what it ended with. */
  run(piece: Piece, work: () => Promise<void>): Promise<void>;
}

interface Begun extends Piece {
  readonly end: Promise<void>;
  result: { readonly error?: unknown } | undefined;
}

/** Nothing has been begun. */
export function createLongWork(clock: Clock = systemClock): LongWork {
  const lines = new Map<string, Begun>();
  return {
    get underWay() {
      return [...lines.values()].find(({ result }) => result === undefined)?.what;
    },
    async run(piece, work) {
      const known = lines.get(piece.line);
      // What ended without anybody who still wants it is no news.
      const isOver = known?.result !== undefined && known.identity !== piece.identity;
      const other = [...lines.values()].find(
        ({ line, result, isAlone }) =>
          line !== piece.line && result === undefined && (isAlone === true || piece.isAlone === true),
      );
      if ((known === undefined || isOver) && other !== undefined) throw new UnderWay(other.what);
      const begun = known === undefined || isOver ? begin(piece, work) : known;
      lines.set(piece.line, begun);
      const enough = new AbortController();
      await Promise.race([begun.end, pause(clock, patienceMs, enough.signal)]);
      enough.abort();
      if (begun.result === undefined || begun.identity !== piece.identity) throw new UnderWay(begun.what);
      lines.delete(piece.line);
      if ('error' in begun.result) throw begun.result.error;
    },
  };
}

function begin(piece: Piece, work: () => Promise<void>): Begun {
  const begun: Begun = {
    ...piece,
    result: undefined,
    end: work().then(
      () => {
        begun.result = {};
      },
      (error: unknown) => {
        begun.result = { error };
      },
    ),
  };
  return begun;
}
