import type { Conversion } from './conversion/model.ts';
import type { Strategy } from './layout.ts';

/** What one shard's application database holds of Herdsman's concern: data only, read by `postgres/catalog.ts`. */
export interface ShardCatalog {
  /** Whether the schemas `herdsman` and `own` are there. */
  readonly installed: boolean;
  /** Ordinary and partitioned tables of the application schema. */
  readonly tables: readonly CatalogTable[];
  readonly sequences: readonly OwnedSequence[];
  /** Foreign keys of those tables that are not inherited from a parent. */
  readonly foreignKeys: readonly ForeignKey[];
  /** Foreign keys that parents had: recorded, and kept on the leaves. */
  readonly recordedKeys: readonly ForeignKey[];
  readonly markers: readonly Marker[];
  readonly mirror: readonly MirrorRow[];
  readonly distribution: readonly DistributionRow[];
  readonly ledger: readonly LedgerEntry[];
  readonly preparedTransactions: number;
  /** Buckets that the shard itself knows to be on the move: their leaves, marker and mirror row are the move's. */
  readonly moving: readonly MovingBucket[];
  /** Conversions of plain tables whose rows are on this shard. */
  readonly conversions: readonly Conversion[];
}

/** A table of the application schema. */
export interface CatalogTable {
  readonly name: string;
  readonly owner: string;
  readonly partitioned: boolean;
  /** Partitioning strategy of a partitioned table. */
  readonly strategy: 'hash' | 'list' | 'range' | null;
  /** Columns of the partition key; an expression is an empty text. */
  readonly key: readonly string[];
  /** Types of the columns of the partition key. */
  readonly keyTypes: readonly string[];
  readonly primaryKey: readonly string[];
  /** Name of the table whose partition it is. */
  readonly parent: string | null;
  /** Bound as PostgreSQL prints it, such as `FOR VALUES WITH (modulus 64, remainder 7)`. */
  readonly bound: string | null;
  /** CHECK constraints as PostgreSQL prints them, such as `CHECK ((a = b))`. */
  readonly checks: readonly string[];
  /** Whether it refuses rows: its bucket has gone to another shard. */
  readonly refuses: boolean;
}

/** A sequence, counting up, of a column of a partitioned table that has room for all its numbers. */
export interface OwnedSequence {
  readonly table: string;
  readonly start: number;
  readonly maximum: number;
  /** Whether it has given no number and was not set; `null` while somebody has it locked. */
  readonly unused: boolean | null;
}

/** What a foreign key does when the row it refers to changes: `NO ACTION` and so on. */
export type KeyAction = 'NO ACTION' | 'RESTRICT' | 'CASCADE' | 'SET NULL' | 'SET DEFAULT';

/** A foreign key. */
export interface ForeignKey {
  readonly table: string;
  readonly name: string;
  readonly columns: readonly string[];
  readonly referencedSchema: string;
  readonly referencedTable: string;
  readonly referencedColumns: readonly string[];
  readonly onUpdate: KeyAction;
  readonly onDelete: KeyAction;
  /** Columns that ON DELETE SET NULL or SET DEFAULT sets; none: all. */
  readonly onDeleteColumns: readonly string[];
  readonly matchFull: boolean;
  readonly deferrable: boolean;
  readonly initiallyDeferred: boolean;
}

/** Proof of ownership: a table in schema `own`, with its row. */
export interface Marker {
  readonly name: string;
  readonly bucket: number | null;
  readonly epoch: number | null;
}

/** A row of `herdsman.shard_map`. */
export interface MirrorRow {
  readonly group_name: string;
  readonly bucket: number;
  readonly strategy: Strategy;
  readonly shard: string;
  readonly host: string;
  readonly port: number;
  readonly dbname: string;
  readonly epoch: number;
  readonly modulus: number | null;
  readonly remainder: number | null;
  readonly range_from: string | null;
  readonly range_to: string | null;
  readonly region: string | null;
  readonly list_values: readonly string[] | null;
  readonly is_default: boolean;
}

/** A row of `herdsman.tables`. */
export interface DistributionRow {
  readonly table_name: string;
  readonly group_name: string | null;
  readonly strategy: Strategy | 'reference';
  readonly key_column: string | null;
  readonly hash_column: string | null;
}

/** A bucket of a row of `herdsman.moves`. */
export interface MovingBucket {
  readonly group: string;
  readonly bucket: number;
}

/** Whether a shard knows the bucket to be on the move. */
export function isMoving(catalog: Pick<ShardCatalog, 'moving'>, group: string, bucket: number): boolean {
  return catalog.moving.some((row) => row.group === group && row.bucket === bucket);
}

/** A row of `herdsman.migrations`. */
export interface LedgerEntry {
  readonly name: string;
  readonly position: number;
  readonly checksum: string;
}
