import type { BucketBound, BucketGroup } from '../../api/v1alpha1/shard-map.ts';
import type { Group } from '../../sharding/layout.ts';
import type { Endpoint } from '../../sharding/mirror.ts';
import { bucketsOn, idsOf } from '../../sharding/move/buckets.ts';
import type { Move, StepResult } from '../../sharding/move/model.ts';
import { applicationSchema, leafName, leafParent, markerName } from '../../sharding/names.ts';
import type { Volume } from '../../sharding/room.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { diskFull, PostgresError } from '../postgres-error.ts';

/** Which shard of a move. */
export type Side = 'source' | 'target';

/** What a session of a copy's own shall be. */
export interface SessionKind {
  readonly applicationName: string;
  /** Another role than the operator's. */
  readonly login?: { readonly user: string; readonly password: string };
  readonly replication?: boolean;
}

/** How far a copy is: in bytes on disk, and rows whose part is done. */
export interface CopyProgress {
  readonly bytes: number;
  readonly total: number;
  readonly rows: number;
}

/** What the steps of one move work with. */
export interface MoveContext {
  readonly move: Move;
  /** The group of the buckets, as `spec.tables` has it. */
  readonly group: Group;
  /** The same, as the map has it. */
  readonly owned: BucketGroup;
  /** Where clients find the target. */
  readonly targetEndpoint: Endpoint;
  /** How the target's server reaches the source's: parameters of libpq, without user and password. */
  readonly sourceAddress: Readonly<Record<string, string>>;
  /** What fits on the shards, where that is known. */
  readonly volumes?: Readonly<Record<Side, Volume>>;
  /** Lends a session of the operator on a primary; a patient one has no statement timeout, but ends when the move is cancelled. */
  use<T>(side: Side, work: (connection: Connection) => Promise<T>, patient?: boolean): Promise<T>;
  /** Opens a session without statement timeout on a primary; whoever asks closes it. */
  open(side: Side, kind: SessionKind): Promise<Connection>;
  /** How rows are copied, and who is told of it. */
  readonly copying?: {
    readonly maxBytesPerSecond?: number;
    report?(progress: CopyProgress): void;
    /** Told when the copy waits for the transactions that are older than its slot, and when it waits for them no more. */
    waits?(isWaiting: boolean): void;
    /** Aborts when the move is not wanted any more. */
    readonly signal?: AbortSignal;
  };
}

/** A bucket's leaf of one table, with what it belongs to. */
export interface Leaf {
  readonly table: string;
  readonly bucket: BucketBound;
  readonly name: string;
  /** Name with its schema, quoted. */
  readonly qualified: string;
  /** The table that it is a partition of, quoted with its schema. */
  readonly parent: string;
}

/** The leaves of the buckets that a side owns before (source) or after (target), by bucket, in the order of the group's tables. */
export function leavesOf({ group, move, owned }: MoveContext, side: Side): Leaf[] {
  return bucketsOn(move, side).flatMap((bucket) =>
    group.tables.map(({ name: table }) => {
      const name = leafName(table, bucket.id);
      return {
        table,
        bucket,
        name,
        qualified: qualified(applicationSchema, name),
        parent: qualified(applicationSchema, leafParent(table, bucket, owned)),
      };
    }),
  );
}

/** A bucket's marker, quoted with its schema. */
export function markerOf({ group }: MoveContext, { id }: BucketBound): string {
  return qualified('own', markerName(group.name, id));
}

/** SQLSTATE of our own refusals. */
export const refusal = 'HD002';

/** A condition on `herdsman.moves`: the rows of this move's buckets, which are made, changed and deleted together. */
export function guardCondition({ move, group }: MoveContext): string {
  return (
    `m.group_name = ${quoteLiteral(group.name)} AND m.bucket IN (${idsOf(move).join(', ')}) AND ` +
    `m.move = ${quoteLiteral(move.key)}`
  );
}

/** PL/pgSQL that raises unless the shard still knows the move like this; with a lock, the row stays as it is until the transaction's end. */
export function demandGuard(
  context: MoveContext,
  more: string,
  lock: 'FOR SHARE' | 'FOR UPDATE' | '',
): string {
  return (
    `PERFORM FROM herdsman.moves m WHERE ${guardCondition(context)} AND ${more} ${lock}; ` +
    `IF NOT FOUND THEN RAISE EXCEPTION 'the shard knows another attempt of this move' USING ERRCODE = '${refusal}'; END IF;`
  );
}

/** An anonymous block of PL/pgSQL. */
export function block(body: string, declare = ''): string {
  return `DO $herdsman$ ${declare} BEGIN ${body} END $herdsman$`;
}

/** Owners of the users' tables that were asked for within a pass, by side. */
const owners = new WeakMap<MoveContext, Partial<Record<Side, string>>>();

/** Name of the role that owns the users' tables on a side. */
export async function ownerOf(connection: Connection, context: MoveContext, side: Side): Promise<string> {
  const known = owners.get(context)?.[side];
  if (known !== undefined) return known;
  const root = qualified(applicationSchema, context.group.tables[0]?.name ?? '');
  const [row] = await connection.query<{ owner: string }>({
    text: 'SELECT pg_get_userbyid(c.relowner) AS owner FROM pg_class c WHERE c.oid = to_regclass($1)',
    values: [root],
  });
  if (row === undefined) throw new PostgresError({ sqlstate: '42P01', message: `there is no ${root}` });
  owners.set(context, { ...owners.get(context), [side]: row.owner });
  return row.owner;
}

/** Statements between which the session acts as the owner of the users' tables. */
export function asOwner(owner: string, statements: readonly string[]): string[] {
  return [`SET LOCAL ROLE ${quoteIdentifier(owner)}`, ...statements, 'RESET ROLE'];
}

/** The step is done. */
export const done: StepResult = { kind: 'done' };

/** Nothing was done. */
export function refused(reason: string, message: string): StepResult {
  return { kind: 'refused', reason, message };
}

/** Runs a step; what PostgreSQL refuses was not done, and everything else is not known. */
export async function refusable(work: () => Promise<StepResult>): Promise<StepResult> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof PostgresError)) throw error;
    const reason = reasons[error.sqlstate] ?? 'Refused';
    const detail = error.detail === undefined ? '' : ` (${error.detail})`;
    return refused(reason, `${error.message}${detail}`);
  }
}

const reasons: Readonly<Record<string, string>> = {
  '55P03': 'Locked',
  '40P01': 'Locked',
  '57014': 'TookTooLong',
  [diskFull]: 'DiskFull',
  [refusal]: 'AttemptIsOver',
};
