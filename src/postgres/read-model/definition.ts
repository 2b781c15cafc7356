import { createHash } from 'node:crypto';

/** One table of a read model, as the set wants it. */
export interface ModelTable {
  readonly name: string;
  /** Columns that are copied; none: all. */
  readonly columns?: readonly string[] | undefined;
  /** Which rows are copied; none: all. */
  readonly where?: string | undefined;
  /** Whether it is whole on every shard, so that one shard is enough. */
  readonly reference: boolean;
}

/** A short hash of what is copied: another one is another publication, and another copy. */
export function definitionOf(tables: readonly ModelTable[]): string {
  const text = JSON.stringify(
    tables
      .map(({ name, columns, where, reference }) => [name, columns?.toSorted(), where, reference])
      .toSorted((a, b) => (`${a[0]}` < `${b[0]}` ? -1 : 1)),
  );
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}

/** The tables that a shard publishes: reference tables come from the first alone. */
export function tablesOfShard(tables: readonly ModelTable[], shard: string): ModelTable[] {
  return tables.filter(({ reference }) => !reference || shard === 's0');
}
