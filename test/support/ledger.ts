/** How one row stands: `unknown` is a commit whose answer never came. */
type Outcome = 'acknowledged' | 'unknown';

/** What became of the rows when the database was read back. */
export interface Verdict {
  readonly acknowledged: number;
  /** Commits without an answer: each may be there or not. */
  readonly unknown: number;
  /** Acknowledged rows that are not there. */
  readonly lost: readonly string[];
  /** Rows that are there more than once. */
  readonly doubled: readonly string[];
  /** Rows that are there though nobody wrote them, or though their write was refused. */
  readonly strange: readonly string[];
}

/** A row as the database has it. */
export interface StoredRow {
  readonly writer: number;
  readonly n: number;
}

/** What writers were told, kept outside the database, so that the database can be judged by it. */
export class Ledger {
  readonly #outcomes = new Map<string, Outcome>();
  readonly #times: number[] = [];

  /** The commit was acknowledged at this monotonic time (ms). */
  acknowledge(writer: number, n: number, atMs: number): void {
    this.#outcomes.set(`${writer}/${n}`, 'acknowledged');
    this.#times.push(atMs);
  }

  /** The connection broke while the commit was on its way. */
  leaveUnknown(writer: number, n: number): void {
    this.#outcomes.set(`${writer}/${n}`, 'unknown');
  }

  /** Number of acknowledged commits up to now. */
  get acknowledged(): number {
    return this.#times.length;
  }

  /** The time of the last acknowledged commit. */
  get lastMs(): number {
    return this.#times.at(-1) ?? Number.NEGATIVE_INFINITY;
  }

  /** The longest time (ms) between two acknowledged commits that follow each other, of which the second came after `sinceMs`. */
  longestGapMs(sinceMs = Number.NEGATIVE_INFINITY): number {
    let longest = 0;
    for (let index = 1; index < this.#times.length; index++) {
      const end = this.#times[index] ?? 0;
      if (end >= sinceMs) longest = Math.max(longest, end - (this.#times[index - 1] ?? end));
    }
    return longest;
  }

  /** Compares what was acknowledged with what is there. */
  judge(rows: Iterable<StoredRow>): Verdict {
    const counts = new Map<string, number>();
    for (const { writer, n } of rows) {
      const key = `${writer}/${n}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const acknowledged = [...this.#outcomes].filter(([, outcome]) => outcome === 'acknowledged');
    return {
      acknowledged: acknowledged.length,
      unknown: this.#outcomes.size - acknowledged.length,
      lost: acknowledged.map(([key]) => key).filter((key) => !counts.has(key)),
      doubled: [...counts].filter(([, count]) => count > 1).map(([key]) => key),
      strange: [...counts.keys()].filter((key) => !this.#outcomes.has(key)),
    };
  }
}
