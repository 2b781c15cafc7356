import type { ImportSpec } from '../../api/v1alpha1/import.ts';

/**
 * How far an import is. Before `switched` the other server serves, and all that was made can be thrown away; its commit on the
 * shard is the point from which the cluster serves.
 */
export type ImportPhase =
  /** The empty tables on the shard refuse everybody's writes. */
  | 'prepared'
  /** The shard's subscription copies. */
  | 'copying'
  /** Every table is there, and kept in step. */
  | 'following'
  /** The other server takes no writes of the tables. */
  | 'fenced'
  /** Everything has arrived and was compared, and sequences go on from there. */
  | 'verified'
  | 'switched'
  /** Nothing is left at the other server but the refusal of writes. */
  | 'done'
  /** Rows differed; the other server serves. */
  | 'failed'
  /** It is given up, and nothing of it is left on the shard. */
  | 'withdrawing';

/** The row of `herdsman.imports`, on the shard that gets the rows. */
export interface ImportRecord {
  /** Name of the slot, the publication and the schema at the other server, and of the subscription. */
  readonly name: string;
  readonly phase: ImportPhase;
  readonly tables: readonly string[];
  /** As `spec.bootstrap.import` had it last: what has to be cleaned up is found by it. */
  readonly source: ImportSpec;
  /** Hash of how the subscription connects, and its OID: slots of tables that are being copied are named after it. */
  readonly connection: string | null;
  readonly subscription: number | null;
  readonly attempt: number;
  /** In ms since 1970, as the shard's clock says. */
  readonly startedAtMs: number | null;
  readonly fencedAtMs: number | null;
  readonly switchedAtMs: number | null;
  /** Place in the other server's WAL behind which it took no more writes. */
  readonly fenceLsn: string | null;
  readonly failure: string | null;
}

/** A column that is sent, or written. */
export interface ImportColumn {
  readonly name: string;
  readonly type: string;
  /** Whether a row may lack it. */
  readonly optional: boolean;
}

/** A table of the schema public at the other server. */
export interface SourceTable {
  readonly name: string;
  readonly kind: 'plain' | 'partitioned' | 'partition' | 'inherited' | 'unlogged';
  /** Whether the role may publish it and stop its writers. */
  readonly owned: boolean;
  /** Whether row security may keep rows from the role: PostgreSQL would copy the others without a word. */
  readonly filtered: boolean;
  readonly columns: readonly ImportColumn[];
  /** Columns by which changes name their row; `full`: all of them; none: changes are refused there. */
  readonly identity: readonly string[] | 'full';
  readonly bytes: number;
}

/** What the other server says of itself. */
export interface SourceFacts {
  /** Such as 170002. */
  readonly version: number;
  readonly walLevel: string;
  readonly inRecovery: boolean;
  /** The end of its WAL. */
  readonly lsn: string;
  readonly freeSlots: number;
  readonly freeSenders: number;
  readonly mayReplicate: boolean;
  readonly mayCreate: boolean;
  /** Sequences that belong to no column, and that the role may not read. */
  readonly hiddenSequences: readonly string[];
  readonly tables: readonly SourceTable[];
  /** What is there by the import's name. */
  readonly isPublished: boolean;
  /** Up to where the shard has told that everything is applied, and on its disk; `null` without a slot. */
  readonly confirmedLsn: string | null;
  /** `lost`: its WAL is gone, or it is of another database. */
  readonly slot: 'present' | 'lost' | undefined;
  readonly isFenced: boolean;
  /** Of the fence as it is: who wants to take it away has to know it. */
  readonly fenceToken: string | null;
}

/** A table of the schema public on the shard. */
export interface ShardTable {
  readonly name: string;
  readonly partitioned: boolean;
  readonly owner: string;
  readonly columns: readonly ImportColumn[];
  readonly generated: readonly string[];
  readonly primaryKey: readonly string[];
  /** Tables that its foreign keys refer to. */
  readonly refersTo: readonly string[];
  readonly hasRows: boolean;
  readonly bytes: number;
}

/** How the subscription is on the shard. */
export interface Subscription {
  /** Tables that are in step. */
  readonly ready: readonly string[];
  readonly total: number;
  /** Up to where the other server's WAL has come; `null` while nothing is connected. What has come last may not be applied yet. */
  readonly receivedLsn: string | null;
  /** How often applying or copying ended with an error. */
  readonly errors: number;
}

/** What the shard has. */
export interface ShardFacts {
  readonly record: ImportRecord | undefined;
  readonly tables: readonly ShardTable[];
  /** Everything in its database. */
  readonly databaseBytes: number;
  readonly subscription: Subscription | undefined;
}

const ended: ReadonlySet<string> = new Set(['switched', 'done', 'withdrawing']);

/** Whether nobody else may touch the tables, as far as the status tells: without one, they may not while an import is wanted. */
export function isImporting(wanted: ImportSpec | undefined, phase: string | undefined): boolean {
  return phase === undefined ? wanted !== undefined : !ended.has(phase);
}

/** Whether a place in the WAL, such as 0/16B3748, is not before another. */
export function hasReached(lsn: string | null, goal: string | null): boolean {
  if (lsn === null || goal === null) return false;
  return lsnNumber(lsn) >= lsnNumber(goal);
}

/** Bytes of WAL from one place to another; `undefined` while one is not known, and never less than 0. */
export function bytesBetween(
  from: string | null | undefined,
  to: string | null | undefined,
): number | undefined {
  if (typeof from !== 'string' || typeof to !== 'string') return undefined;
  return Math.max(0, Number(lsnNumber(to) - lsnNumber(from)));
}

function lsnNumber(lsn: string): bigint {
  const [high = '0', low = '0'] = lsn.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
