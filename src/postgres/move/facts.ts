import { bucketsOn, idsOf } from '../../sharding/move/buckets.ts';
import type { ShardFacts } from '../../sharding/move/model.ts';
import { movePrefix } from '../../sharding/move/names.ts';
import { markerName } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { UnreachableError } from '../postgres-error.ts';
import { leavesOf, type MoveContext, type Side } from './context.ts';
import { intakesOf } from './intake.ts';

/**
 * Reads catalogs and tables of ours only: a prepared transaction holds the marker and the leaves locked. The marker's epoch is
 * that of the mirror's row, which is written together with it.
 */
const query = `
SELECT
  pg_is_in_recovery() AS "inRecovery",
  CASE WHEN pg_is_in_recovery() THEN '0' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
  (SELECT jsonb_build_object('move', m.move, 'copy', m.copy, 'attempt', m.attempt, 'armed', m.armed,
      'copying', m.copying, 'copied', m.copied)
    FROM herdsman.moves m WHERE m.group_name = $1 AND m.bucket = ANY ($2::int[]) ORDER BY m.move = $8 LIMIT 1) AS guard,
  coalesce((SELECT jsonb_agg(jsonb_build_object('gid', x.gid,
      'age', round(extract(epoch FROM clock_timestamp() - x.prepared) * 1000)))
    FROM pg_prepared_xacts x WHERE x.database = current_database() AND starts_with(x.gid, $3)), '[]') AS prepared,
  CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = to_regnamespace('own') AND c.relname = ANY ($4::text[]))
    THEN coalesce((SELECT max(m.epoch) FROM herdsman.shard_map m WHERE m.group_name = $1 AND m.bucket = ANY ($9::int[])), 0)::int
    END AS marker,
  coalesce((SELECT jsonb_agg(jsonb_build_object(
      'partition', c.relispartition AND i.inhparent IS NOT DISTINCT FROM to_regclass(w.parent),
      'detaching', coalesce(i.inhdetachpending, false),
      'quiet', coalesce(c.reloptions @> ARRAY['autovacuum_enabled=off'], false),
      'bound', EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = 'herdsman_bound'),
      'refuses', EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'herdsman_refuse')))
    FROM unnest($5::text[], $6::text[]) w(name, parent) JOIN pg_class c ON c.relname = w.name
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace), '[]') AS leaves,
  EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY ($7::text[])) AS intakes,
  EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    AND starts_with(c.relname, $3 || 'old_')) AS retired,
  coalesce((SELECT jsonb_agg(p.pubname) FROM pg_publication p WHERE starts_with(p.pubname, $3)), '[]') AS publications,
  coalesce((SELECT jsonb_agg(r.rolname) FROM pg_roles r WHERE starts_with(r.rolname, $3)), '[]') AS roles,
  coalesce((SELECT jsonb_agg(jsonb_build_object('name', s.slot_name,
      'lost', s.wal_status IS NOT DISTINCT FROM 'lost' OR s.invalidation_reason IS NOT NULL,
      'lagBytes', CASE WHEN pg_is_in_recovery() THEN 0
        ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn), 0) END))
    FROM pg_replication_slots s WHERE s.database = current_database() AND starts_with(s.slot_name, $3)), '[]') AS slots,
  coalesce((SELECT jsonb_agg(jsonb_build_object('name', s.subname, 'enabled', s.subenabled))
    FROM pg_subscription s WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND starts_with(s.subname, $3)), '[]') AS subscriptions`;

interface LeafRow {
  readonly partition: boolean;
  readonly detaching: boolean;
  readonly quiet: boolean;
  readonly bound: boolean;
  readonly refuses: boolean;
}

interface Row extends Pick<ShardFacts, 'publications' | 'roles' | 'slots' | 'subscriptions' | 'retired'> {
  readonly inRecovery: boolean;
  readonly timeline: string;
  readonly guard: ShardFacts['guard'] | null;
  readonly prepared: readonly { readonly gid: string; readonly age: number }[];
  readonly marker: number | null;
  readonly leaves: readonly LeafRow[];
  readonly intakes: boolean;
}

/** What a shard shows of a move, in one snapshot. */
export async function readFacts(
  connection: Connection,
  context: MoveContext,
  side: Side,
  now: number,
): Promise<ShardFacts> {
  const { move, group } = context;
  const leaves = leavesOf(context, side);
  const own = bucketsOn(move, side).map(({ id }) => id);
  const [row] = await connection.query<Row>({
    text: query,
    values: [
      group.name,
      idsOf(move),
      movePrefix(move.id),
      own.map((id) => markerName(group.name, id)),
      leaves.map((leaf) => leaf.name),
      leaves.map((leaf) => leaf.parent),
      side === 'target' ? intakesOf(context).map((intake) => intake.name) : [],
      move.key,
      own,
    ],
  });
  if (row === undefined || row.inRecovery) throw new UnreachableError('the server is not a primary');
  return {
    timeline: Number.parseInt(row.timeline, 16),
    guard: row.guard ?? undefined,
    prepared: row.prepared.map(({ gid, age }) => ({ gid, since: now - age })),
    marker: row.marker ?? undefined,
    leaves: stateOf(row.leaves, leaves.length),
    retired: row.retired,
    unsettled: row.intakes || row.leaves.some(({ quiet, bound }) => quiet || bound),
    publications: row.publications,
    roles: row.roles,
    slots: row.slots,
    subscriptions: row.subscriptions,
  };
}

function stateOf(found: readonly LeafRow[], wanted: number): ShardFacts['leaves'] {
  if (found.length === 0) return 'absent';
  const states = new Set(
    found.map(({ partition, detaching, refuses }) => {
      if (detaching) return 'detaching';
      if (partition) return 'attached';
      return refuses ? 'detached' : 'staged';
    }),
  );
  const [first] = states;
  if (states.size > 1 || first === undefined) return 'mixed';
  return first === 'staged' && found.length < wanted ? 'mixed' : first;
}
