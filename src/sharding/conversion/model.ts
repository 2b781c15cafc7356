import type { Group } from '../layout.ts';

/**
 * How far the conversion of a group's plain tables is. Before `switched` the plain tables serve, and all that was made can be
 * thrown away; after it the partitioned ones serve, and the plain ones are kept in step until the retention ends.
 */
export type Phase =
  /** Empty partitioned tables wait in `herdsman_new`. */
  | 'staged'
  /** Changes of the plain tables are noted, and their rows are being copied. */
  | 'copying'
  | 'copied'
  /** All indexes are there. */
  | 'built'
  /** Both were found to have the same rows. */
  | 'verified'
  | 'switched'
  /** The shard has the markers of all buckets. */
  | 'owned'
  /** Foreign keys are validated. */
  | 'settled'
  /** The plain tables serve again, and the map may still have the group. */
  | 'reverted';

/** A row of `herdsman.conversions`, on the shard that has the rows. */
export interface Conversion {
  readonly group: string;
  readonly phase: Phase;
  /** The group as `spec.tables` had it when the conversion began. */
  readonly layout: Group;
  /** Epoch of the markers, from the switch on. */
  readonly epoch: number | null;
  /** In ms since 1970, as the shard's clock says. */
  readonly switchedAtMs: number | null;
  /** How long nobody else could use the tables when they were switched. */
  readonly fenceMs: number | null;
  readonly tables: readonly ConvertingTable[];
}

/** One table of a conversion. */
export interface ConvertingTable {
  readonly name: string;
  /** The file whose blocks are copied: another one means that the table was truncated or rewritten. */
  readonly filenode: string;
  /** Blocks that the table had when changes began to be noted. */
  readonly blocks: number;
  /** The first of them that has not been copied. */
  readonly next: number;
}

/** Whether the plain tables of a conversion still serve. */
export function isBeforeSwitch({ phase }: Pick<Conversion, 'phase'>): boolean {
  return ['staged', 'copying', 'copied', 'built', 'verified'].includes(phase);
}
