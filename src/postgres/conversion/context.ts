import type { BucketGroup } from '../../api/v1alpha1/shard-map.ts';
import type { Conversion, Phase } from '../../sharding/conversion/model.ts';
import type { Group } from '../../sharding/layout.ts';
import type { Endpoint } from '../../sharding/mirror.ts';
import type { Connection } from '../connection.ts';
import { quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { diskFull, PostgresError } from '../postgres-error.ts';
import { statement } from '../statement.ts';

/** What the steps of one conversion work with, on the shard that has the rows. */
export interface ConversionContext {
  readonly group: Group;
  /** The group's buckets, all of them on this shard. */
  readonly owned: BucketGroup;
  /** Where clients find this shard. */
  readonly endpoint: Endpoint;
}

/** How a step ended: `waiting` says what for, `changed` that what was made no longer fits and is to be made again. */
export type ConversionStep =
  | { readonly kind: 'done' }
  | { readonly kind: 'waiting' | 'changed'; readonly reason: string; readonly message: string };

/** The step is done. */
export const done: ConversionStep = { kind: 'done' };

/** SQLSTATE of our own refusals; the reason is in front of the message, before a colon. */
export const refusal = 'HD003';

/** An anonymous block of PL/pgSQL. */
export function block(body: string, declare = ''): string {
  return `DO $herdsman$ ${declare} BEGIN ${body} END $herdsman$`;
}

/** PL/pgSQL that raises a refusal. */
export function raise(kind: 'waiting' | 'changed', reason: string, message: string): string {
  const text = `${kind}:${reason}:${message}`.replaceAll('%', '%%');
  return `RAISE EXCEPTION ${quoteLiteral(text)} USING ERRCODE = '${refusal}';`;
}

/** PL/pgSQL that raises unless the conversion is in the phase; its row stays locked until the transaction's end. */
export function demandPhase(group: string, phase: Phase): string {
  return (
    `PERFORM FROM herdsman.conversions c WHERE c.group_name = ${quoteLiteral(group)} AND c.phase = '${phase}' FOR UPDATE; ` +
    `IF NOT FOUND THEN ${raise('waiting', 'Overtaken', 'somebody else has done this step')} END IF;`
  );
}

/** A statement that sets the phase. */
export function setPhase(group: string, phase: Phase, more = ''): string {
  return `UPDATE herdsman.conversions SET phase = '${phase}'${more} WHERE group_name = ${quoteLiteral(group)}`;
}

/** Statements between which the session acts as the owner of the users' tables, and finds what their functions find. */
export function asOwner(owner: string, statements: readonly string[]): string[] {
  return [
    `SET LOCAL ROLE ${quoteIdentifier(owner)}`,
    'SET LOCAL search_path = public',
    ...statements,
    'SET LOCAL search_path = pg_catalog, pg_temp',
    'RESET ROLE',
  ];
}

/** Runs a step; what PostgreSQL refuses was not done. */
export async function refusable(work: () => Promise<ConversionStep>): Promise<ConversionStep> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof PostgresError)) throw error;
    if (error.sqlstate === refusal) {
      const [kind, reason = '', ...message] = error.message.split(':');
      return { kind: kind === 'changed' ? 'changed' : 'waiting', reason, message: message.join(':') };
    }
    const reason = reasons[error.sqlstate] ?? 'Refused';
    const detail = error.detail === undefined ? '' : ` (${error.detail})`;
    return { kind: 'waiting', reason, message: `${error.message}${detail}` };
  }
}

const reasons: Readonly<Record<string, string>> = {
  '55P03': 'Locked',
  '40P01': 'Locked',
  '40001': 'Overtaken',
  '57014': 'TookTooLong',
  [diskFull]: 'DiskFull',
};

interface ConversionRow {
  readonly conversion: Omit<Conversion, 'group'> & { readonly group: string };
}

/** The conversions that a shard knows; none while its schema is older. */
export async function readConversions(connection: Connection): Promise<Conversion[]> {
  const [state] = await connection.query<{ there: boolean }>({
    text: "SELECT to_regclass('herdsman.conversions') IS NOT NULL AS there",
  });
  if (state?.there !== true) return [];
  const rows = await connection.query<ConversionRow>(
    statement(
      `SELECT jsonb_build_object('group', c.group_name, 'phase', c.phase, 'layout', c.layout, 'epoch', c.epoch, 'tables', c.tables, 'fenceMs', c.fence_ms,
        'switchedAtMs', floor(extract(epoch FROM c.switched_at) * 1000)) AS conversion
        FROM herdsman.conversions c ORDER BY c.group_name`,
    ),
  );
  return rows.map((row) => row.conversion);
}
