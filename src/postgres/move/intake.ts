import type { BucketBound } from '../../api/v1alpha1/shard-map.ts';
import { boundClause } from '../../sharding/bound-clause.ts';
import type { Group, GroupTable } from '../../sharding/layout.ts';
import { isReshape } from '../../sharding/move/buckets.ts';
import { movePrefix } from '../../sharding/move/names.ts';
import { applicationSchema, leafName } from '../../sharding/names.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import type { MoveContext } from './context.ts';

/**
 * A table on the target that the stream writes to, when other buckets take the place of the source's: it has the name of a
 * parent's leaf, since both ends of a stream have one name. That of a split is partitioned, and PostgreSQL routes the rows to the
 * children's leaves. Those of a merge keep the rows, by which changes are found, and triggers hand them on to the child's leaf.
 */
export interface Intake {
  readonly table: GroupTable;
  readonly bucket: BucketBound;
  readonly name: string;
  /** Name with its schema, quoted. */
  readonly qualified: string;
}

/** The intakes of a move, in the order of the source's leaves; none when the buckets stay what they are. */
export function intakesOf({ move, group }: Pick<MoveContext, 'move' | 'group'>): Intake[] {
  if (!isReshape(move)) return [];
  return move.parents.flatMap((bucket) =>
    group.tables.map((table): Intake => {
      const name = leafName(table.name, bucket.id);
      return { table, bucket, name, qualified: qualified(applicationSchema, name) };
    }),
  );
}

/** Text of SQL that PL/pgSQL can EXECUTE: an empty table like one of the group's, without its primary key. */
export function makeTable(name: string, table: string): string {
  const like = likeClause(qualified(applicationSchema, table));
  return quoteLiteral(`CREATE TABLE ${name} (${like}) WITH (autovacuum_enabled = off)`);
}

/** Text of SQL that PL/pgSQL can EXECUTE: gives such a table its primary key. */
export function makeKey(name: string, table: string): string {
  const root = qualified(applicationSchema, table);
  return `${quoteLiteral(`ALTER TABLE ${name} ADD `)} || (SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k
      WHERE k.conrelid = ${quoteLiteral(root)}::regclass AND k.contype = 'p')`;
}

function likeClause(root: string): string {
  return (
    `LIKE ${root} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED ` +
    'INCLUDING STORAGE INCLUDING COMPRESSION EXCLUDING IDENTITY'
  );
}

/** Texts of SQL that PL/pgSQL can EXECUTE: the intakes, when the leaves are there. */
export function makeIntakes(context: Pick<MoveContext, 'move' | 'group'>): string[] {
  const { move, group } = context;
  return intakesOf(context).flatMap((intake, index) => {
    if (move.parents.length === 1) return divide(intake, group, move.children);
    const { qualified: name, table } = intake;
    return [makeTable(name, table.name), makeKey(name, table.name), ...forward(context, intake, index)];
  });
}

function divide(
  { table, qualified: name }: Intake,
  group: Group,
  children: readonly BucketBound[],
): string[] {
  const byList = children.some(({ values, region }) => values !== undefined && region === undefined);
  const method = byList ? 'LIST' : children.some(({ range }) => range !== undefined) ? 'RANGE' : 'HASH';
  const column = group.strategy === 'geographic' ? (table.hashKey ?? table.key) : table.key;
  const root = qualified(applicationSchema, table.name);
  return [
    `CREATE TABLE ${name} (${likeClause(root)}) PARTITION BY ${method} (${quoteIdentifier(column)})`,
    ...children.map((child) => {
      const clause = byList && child.isDefault === true ? 'DEFAULT' : boundClause(child);
      return `ALTER TABLE ${name} ATTACH PARTITION ${leafOf(table, child)} ${clause}`;
    }),
  ].map(quoteLiteral);
}

function leafOf(table: GroupTable, { id }: BucketBound): string {
  return qualified(applicationSchema, leafName(table.name, id));
}

/** A trigger that does to the child's leaf what the stream does to the intake, also in a session that applies changes. */
function forward({ move }: Pick<MoveContext, 'move'>, intake: Intake, index: number): string[] {
  const [child] = move.children;
  const leaf = child === undefined ? '' : leafOf(intake.table, child);
  const name = forwarderOf(move.id, index);
  // The columns are known to the server: %1$s all, %2$s their new values, %3$s the row of OLD, %4$s that of the intake.
  const body = `
    BEGIN
      IF TG_OP = 'INSERT' THEN
        INSERT INTO ${leaf} (%1$s) VALUES (%2$s);
        RETURN NEW;
      ELSIF TG_OP = 'UPDATE' THEN
        UPDATE ${leaf} l SET (%1$s) = ROW (%2$s) WHERE %3$s;
        IF NOT FOUND THEN RAISE EXCEPTION 'a row of ${intake.name} is not in the bucket that it is merged into'; END IF;
        RETURN NEW;
      ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM ${leaf} l WHERE %3$s;
        RETURN OLD;
      END IF;
      DELETE FROM ${leaf} l USING ${intake.qualified} i WHERE %4$s;
      RETURN NULL;
    END`;
  const define = `CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS %L`;
  const columns = `
    SELECT string_agg(quote_ident(a.attname), ', ') AS names, string_agg('NEW.' || quote_ident(a.attname), ', ') AS new,
        string_agg(format('l.%1$I = OLD.%1$I', a.attname), ' AND ') FILTER (WHERE a.attnum = ANY (k.conkey)) AS old,
        string_agg(format('l.%1$I = i.%1$I', a.attname), ' AND ') FILTER (WHERE a.attnum = ANY (k.conkey)) AS same
      FROM pg_attribute a JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
      WHERE a.attrelid = ${quoteLiteral(intake.qualified)}::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''`;
  const trigger = `herdsman_forward`;
  return [
    `(SELECT format(${quoteLiteral(define)}, format(${quoteLiteral(body)}, c.names, c.new, c.old, c.same)) FROM (${columns}) c)`,
    quoteLiteral(
      `CREATE TRIGGER ${trigger} BEFORE INSERT OR UPDATE OR DELETE ON ${intake.qualified} FOR EACH ROW EXECUTE FUNCTION ${name}()`,
    ),
    quoteLiteral(
      `CREATE TRIGGER ${trigger}_truncate BEFORE TRUNCATE ON ${intake.qualified} FOR EACH STATEMENT EXECUTE FUNCTION ${name}()`,
    ),
    quoteLiteral(`ALTER TABLE ${intake.qualified} ENABLE ALWAYS TRIGGER ${trigger}`),
    quoteLiteral(`ALTER TABLE ${intake.qualified} ENABLE ALWAYS TRIGGER ${trigger}_truncate`),
  ];
}

function forwarderOf(id: string, index: number): string {
  return qualified(applicationSchema, `${movePrefix(id)}forward_${index}`);
}

/** Statements that take the leaves out of the intakes, so that they can be attached where they belong. */
export function leaveIntakes(context: Pick<MoveContext, 'move' | 'group'>): string[] {
  const { move } = context;
  if (move.parents.length > 1) return [];
  return intakesOf(context).flatMap((intake) =>
    move.children.map(
      (child) => `ALTER TABLE ${intake.qualified} DETACH PARTITION ${leafOf(intake.table, child)}`,
    ),
  );
}

/** PL/pgSQL that drops the intakes with what hangs on them. */
export function dropIntakes(context: Pick<MoveContext, 'move' | 'group'>): string {
  const { move } = context;
  return intakesOf(context)
    .map((intake, index) => {
      const drop = `DROP TABLE IF EXISTS ${intake.qualified};`;
      return move.parents.length === 1
        ? drop
        : `${drop} DROP FUNCTION IF EXISTS ${forwarderOf(move.id, index)};`;
    })
    .join(' ');
}
