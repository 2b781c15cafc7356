/** A row that is there: its key and its value. */
export interface KeyedRow {
  readonly key: string;
  readonly value: number;
}

/** What became of rows that were inserted, updated and deleted. */
export interface RowVerdict {
  /** Rows that are not there, though nobody deleted them. */
  readonly lost: readonly string[];
  /** Rows that have another value than the last write gave them. */
  readonly stale: readonly string[];
  /** Rows that are there more than once. */
  readonly doubled: readonly string[];
  /** Rows that are there though they were deleted, or never written. */
  readonly strange: readonly string[];
}

/** What the writers of rows were told; `undefined` is the value of a row that is not there. */
export class RowLedger {
  readonly #states = new Map<string, Set<number | undefined>>();

  /** A write was acknowledged: the row has this value. */
  settle(key: string, value: number | undefined): void {
    this.#states.set(key, new Set([value]));
  }

  /** The answer to a commit never came: the row may have this value, or the one before. */
  doubt(key: string, value: number | undefined): void {
    this.#states.set(key, new Set([...(this.#states.get(key) ?? [undefined]), value]));
  }

  /** The value of every row that is known to be there. */
  rows(): Map<string, number> {
    const known = new Map<string, number>();
    for (const [key, [value, ...others]] of this.#states) {
      if (value !== undefined && others.length === 0) known.set(key, value);
    }
    return known;
  }

  /** Compares what the writers were told with what is there. */
  judge(rows: Iterable<KeyedRow>): RowVerdict {
    const found = new Map<string, number>();
    const doubled: string[] = [];
    for (const { key, value } of rows) {
      if (found.has(key)) doubled.push(key);
      found.set(key, value);
    }
    const isOneOf = (key: string, value: number | undefined) => this.#states.get(key)?.has(value) === true;
    const wrong = [...found].filter(([key, value]) => !isOneOf(key, value));
    const mayBeThere = (key: string) =>
      [...(this.#states.get(key) ?? [])].some((value) => value !== undefined);
    return {
      lost: [...this.#states.keys()].filter((key) => !found.has(key) && !isOneOf(key, undefined)),
      stale: wrong.map(([key]) => key).filter(mayBeThere),
      doubled,
      strange: wrong.map(([key]) => key).filter((key) => !mayBeThere(key)),
    };
  }
}
