import type { Group, GroupTable } from '../../sharding/layout.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Problem } from '../../sharding/problem.ts';
import type { Connection } from '../connection.ts';
import { qualified } from '../identifier.ts';
import { statement } from '../statement.ts';

interface Row {
  readonly owner: string;
  readonly mine: boolean;
  readonly unlogged: boolean;
  readonly typed: boolean;
  readonly rls: boolean;
  readonly inherits: boolean;
  readonly columns: readonly string[];
  readonly uniques: readonly { readonly name: string; readonly columns: readonly string[] }[];
  readonly transitions: readonly string[];
  readonly dependents: readonly string[];
}

/** Views are made anew by themselves, and publications of read models go over; whatever else is bound to the table itself would stay with the old one. */
const obstaclesQuery = `
SELECT pg_get_userbyid(c.relowner) AS owner,
  pg_has_role(current_user, c.relowner, 'MEMBER') AS mine,
  c.relpersistence <> 'p' AS unlogged,
  c.reloftype <> 0 AS typed,
  c.relrowsecurity OR c.relforcerowsecurity AS rls,
  EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid) AS inherits,
  (SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('name', x.relname, 'columns', (SELECT coalesce(jsonb_agg(a.attname), '[]')
      FROM unnest(i.indkey) WITH ORDINALITY u(number, place), pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum = u.number AND u.number > 0 AND u.place <= i.indnkeyatts))), '[]')
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary) AS uniques,
  (SELECT coalesce(jsonb_agg(t.tgname), '[]') FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
    AND t.tgtype & 1 = 1 AND (t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL)) AS transitions,
  (SELECT coalesce(jsonb_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0)), '[]') FROM pg_depend d
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.deptype IN ('n', 'a') AND (
      (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND (
        d.classid IN ('pg_proc'::regclass, 'pg_policy'::regclass)
        OR (d.classid = 'pg_publication_rel'::regclass AND NOT EXISTS (SELECT FROM pg_publication_rel pr
          JOIN pg_publication p ON p.oid = pr.prpubid WHERE pr.oid = d.objid AND starts_with(p.pubname, 'hr_')))
        OR (r.oid IS NOT NULL AND (v.relkind <> 'v' OR NOT pg_has_role(current_user, v.relowner, 'MEMBER')))))
      OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
        SELECT y.oid FROM pg_type y WHERE y.oid = c.reltype OR y.typelem = c.reltype)))) AS dependents
FROM pg_class c WHERE c.oid = $1::regclass`;

/** Bytes that the plain tables of a group have with their indexes, and the whole database. */
export async function measureGroup(
  connection: Connection,
  group: Group,
): Promise<{ readonly group: number; readonly database: number }> {
  const names = group.tables.map(({ name }) => qualified(applicationSchema, name));
  const [row] = await connection.query<{ bytes: string; database: string }>(
    statement(
      `SELECT coalesce(sum(pg_total_relation_size(t.name::regclass)), 0)::text AS bytes,
        pg_database_size(current_database())::text AS database FROM unnest($1::text[]) t(name)`,
      names,
    ),
  );
  return { group: Number(row?.bytes ?? 0), database: Number(row?.database ?? 0) };
}

/** What keeps the plain tables of a group from being converted, with what to do about it. */
export async function findConversionObstacles(connection: Connection, group: Group): Promise<Problem[]> {
  const problems: Problem[] = [];
  const owners = new Set<string>();
  for (const table of group.tables) {
    const [row] = await connection.query<Row & Record<string, unknown>>(
      statement(obstaclesQuery, qualified(applicationSchema, table.name)),
    );
    if (row === undefined) continue;
    owners.add(row.owner);
    problems.push(...tableProblems(group, table, row));
  }
  if (owners.size > 1) {
    const message = `the tables of group "${group.name}" belong to several roles (${[...owners].join(', ')}): give them one owner`;
    problems.push({ code: 'SeveralOwners', message });
  }
  return problems;
}

function tableProblems(group: Group, { name, key, hashKey }: GroupTable, row: Row): Problem[] {
  const problems: Problem[] = [];
  const add = (code: string, message: string) =>
    problems.push({ code, message: `table "${name}" ${message}` });
  const isDivided = group.regions.some((region) => (region.buckets ?? 1) > 1);
  const needed = [key, ...(isDivided && hashKey !== undefined ? [hashKey] : [])];
  for (const column of needed.filter((candidate) => !row.columns.includes(candidate))) {
    add('NoSuchColumn', `has no column "${column}": write one of ${row.columns.join(', ')}`);
  }
  if (!row.mine)
    add('NotTheOwner', `belongs to "${row.owner}": ALTER TABLE ${name} OWNER TO the application's role`);
  if (row.unlogged) add('Unlogged', 'is unlogged: ALTER TABLE … SET LOGGED');
  if (row.typed)
    add('TypedTable', 'is made of a type, and a partitioned one cannot be: ALTER TABLE … NOT OF');
  if (row.rls)
    add(
      'RowSecurity',
      'has row-level security, which is not carried over: DISABLE it, and set it up again after',
    );
  if (row.inherits) add('Inheritance', 'is part of an inheritance tree: end it by ALTER TABLE … NO INHERIT');
  for (const unique of row.uniques) {
    const missing = needed.filter((column) => !unique.columns.includes(column));
    if (missing.length === 0) continue;
    const message =
      `has the unique index "${unique.name}" without ${missing.join(', ')}, which no shard can enforce alone: make it ` +
      `(${[...missing, ...unique.columns].join(', ')}), or drop it`;
    add('UniqueWithoutKey', message);
  }
  for (const trigger of row.transitions) {
    add(
      'TransitionTable',
      `has the row trigger "${trigger}" with a transition table, which partitions cannot have: make it FOR EACH STATEMENT`,
    );
  }
  for (const dependent of row.dependents) {
    add(
      'Dependent',
      `is used by ${dependent}, which would go on using the old one: drop it, and make it again after`,
    );
  }
  return problems;
}
