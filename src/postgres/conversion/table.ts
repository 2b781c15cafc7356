import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { PostgresError } from '../postgres-error.ts';
import { statement } from '../statement.ts';
import type { ConversionStep } from './context.ts';
import { oldSchema } from './schema.ts';

/** What a table carries that another one has to carry in its place. Names and columns are quoted. */
export interface TableFacts {
  readonly name: string;
  readonly owner: string;
  readonly filenode: string;
  readonly blocks: number;
  /** Columns that may be written: generated ones are computed anew. */
  readonly columns: readonly string[];
  /** What all columns are and what the rows have to be, as a text to be compared. */
  readonly shape: string;
  readonly primaryKey: readonly string[];
  readonly constraints: readonly {
    readonly name: string;
    readonly definition: string;
    readonly type: string;
  }[];
  /** Indexes that belong to no constraint: the text before and after ` ON table `. */
  readonly indexes: readonly { readonly name: string; readonly head: string; readonly tail: string }[];
  readonly foreignKeys: readonly {
    readonly name: string;
    readonly definition: string;
    readonly valid: boolean;
  }[];
  readonly triggers: readonly { readonly name: string; readonly definition: string; readonly mode: string }[];
  readonly grants: readonly {
    readonly privilege: string;
    readonly column: string | null;
    readonly grantee: string;
    readonly grantable: boolean;
  }[];
  readonly comment: string | null;
  /** Sequences that belong to a column: of a `serial`, or of an identity. */
  readonly sequences: readonly {
    readonly name: string;
    readonly column: string;
    readonly columnName: string;
    readonly isIdentity: boolean;
  }[];
  /** Views that read it, as statements that make them read whatever has its name by then. */
  readonly views: readonly { readonly owner: string; readonly statement: string }[];
  /** Publications of read models that it is in, with their columns and filter. */
  readonly publications: readonly {
    readonly name: string;
    readonly columns: string | null;
    readonly filter: string | null;
  }[];
}

/** Prefix of triggers that are Herdsman's own. */
export const ownTriggers = 'herdsman_';

/**
 * SQL of the shape of a table by its OID. Numbers of a sequence are left out: it belongs to the table that serves.
 */
export function shapeOf(oid: string): string {
  return `(SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attgenerated::text,
        CASE WHEN a.attnotnull THEN 'NOT NULL' END, (SELECT x.text FROM pg_attrdef d, pg_get_expr(d.adbin, d.adrelid) x(text)
          WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND x.text !~ '^nextval[(]')), ', ' ORDER BY a.attname)
      || coalesce((SELECT string_agg(', ' || regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), '' ORDER BY k.conname)
        FROM pg_constraint k WHERE k.conrelid = ${oid} AND k.contype = 'c'), '')
    FROM pg_attribute a WHERE a.attrelid = ${oid} AND a.attnum > 0 AND NOT a.attisdropped)`;
}

const factsQuery = `
SELECT jsonb_build_object(
  'name', c.relname,
  'owner', pg_get_userbyid(c.relowner),
  'filenode', coalesce(pg_relation_filenode(c.oid), 0)::text,
  'blocks', pg_relation_size(c.oid) / current_setting('block_size')::int,
  'columns', (SELECT coalesce(jsonb_agg(quote_ident(a.attname) ORDER BY a.attnum), '[]') FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
  'shape', ${shapeOf('c.oid')},
  'primaryKey', (SELECT coalesce(jsonb_agg(quote_ident(a.attname) ORDER BY u.place), '[]')
    FROM pg_constraint k, unnest(k.conkey) WITH ORDINALITY u(number, place), pg_attribute a
    WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attrelid = c.oid AND a.attnum = u.number),
  'constraints', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', quote_ident(k.conname),
      'definition', pg_get_constraintdef(k.oid), 'type', k.contype) ORDER BY k.contype = 'p' DESC, k.oid), '[]')
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')),
  'indexes', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', quote_ident(x.relname), 'head', parts.found[1], 'tail', parts.found[2])
      ORDER BY i.indexrelid), '[]')
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid,
      regexp_match(pg_get_indexdef(i.indexrelid), '^(CREATE (?:UNIQUE )?INDEX .*?) ON (?:ONLY )?[^ ]+ (USING .*)$') parts(found)
    WHERE i.indrelid = c.oid AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_constraint k
      WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x'))),
  'foreignKeys', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', quote_ident(k.conname),
      'definition', regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), 'valid', k.convalidated) ORDER BY k.conname), '[]')
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0),
  'triggers', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', quote_ident(t.tgname), 'definition', pg_get_triggerdef(t.oid),
      'mode', CASE t.tgenabled WHEN 'O' THEN 'ENABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END)
      ORDER BY t.tgname), '[]')
    FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND NOT starts_with(t.tgname, '${ownTriggers}')),
  'grants', (SELECT coalesce(jsonb_agg(jsonb_build_object('privilege', g.privilege, 'column', g.col,
      'grantee', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END, 'grantable', g.grantable)), '[]')
    FROM (SELECT x.privilege_type AS privilege, NULL AS col, x.grantee, x.is_grantable AS grantable
        FROM aclexplode(c.relacl) x WHERE x.grantee <> c.relowner
      UNION ALL SELECT x.privilege_type, quote_ident(a.attname), x.grantee, x.is_grantable
        FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) g),
  'comment', obj_description(c.oid, 'pg_class'),
  'sequences', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', format('%I.%I', n.nspname, s.relname), 'column', quote_ident(a.attname),
      'columnName', a.attname, 'isIdentity', d.deptype = 'i') ORDER BY a.attnum), '[]')
    FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('a', 'i')),
  'views', (SELECT coalesce(jsonb_agg(jsonb_build_object('owner', pg_get_userbyid(v.relowner), 'statement',
      format('CREATE OR REPLACE VIEW %I.%I %s AS %s', n.nspname, v.relname,
        CASE WHEN v.reloptions IS NULL THEN '' ELSE 'WITH (' || array_to_string(v.reloptions, ', ') || ')' END,
        rtrim(pg_get_viewdef(v.oid), ';'))) ORDER BY v.oid), '[]')
    FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace WHERE v.relkind = 'v' AND EXISTS (
      SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      WHERE r.ev_class = v.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)),
  'publications', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', quote_ident(p.pubname),
      'columns', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs)),
      'filter', pg_get_expr(r.prqual, r.prrelid)) ORDER BY p.pubname), '[]')
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = c.oid AND starts_with(p.pubname, 'hr_'))
) AS facts
FROM pg_class c WHERE c.oid = to_regclass($1)`;

/** Reads what a table carries. */
export async function readTable(connection: Connection, schema: string, name: string): Promise<TableFacts> {
  const [row] = await connection.query<{ facts: TableFacts }>(statement(factsQuery, qualified(schema, name)));
  if (row === undefined)
    throw new PostgresError({ sqlstate: '42P01', message: `there is no table ${schema}.${name}` });
  return row.facts;
}

/**
 * Whether a migration has changed tables that serve in what the ones in the schema, which shall take their place, do not show:
 * these were made, or kept, as the others were.
 */
export async function findChange(
  connection: Connection,
  tables: readonly TableFacts[],
  schema: string,
): Promise<ConversionStep | undefined> {
  for (const facts of tables) {
    const other = await readTable(connection, schema, facts.name);
    if (other.shape !== facts.shape) return tableChanged(`the columns of table "${facts.name}" have changed`);
    if (schema !== oldSchema) continue;
    const has = (names: readonly { readonly name: string }[]) => new Set(names.map(({ name }) => name));
    const known = has([...other.constraints, ...other.indexes, ...other.triggers]);
    const later = [...facts.constraints, ...facts.indexes, ...facts.triggers].find(
      ({ name }) => !known.has(name),
    );
    if (later !== undefined)
      return tableChanged(`table "${facts.name}" has got ${later.name} since the switch`);
  }
  return undefined;
}

function tableChanged(message: string): ConversionStep {
  return { kind: 'changed', reason: 'TableChanged', message };
}

/** The keys of changed rows of a table, quoted with its schema. */
export function changesOf(table: string): string {
  return qualified('herdsman', `changes_${table}`);
}

/** The function that notes them. */
export function noteFunction(table: string): string {
  return qualified('herdsman', `note_${table}`);
}

/** A table with the columns of the one that serves, its primary key and its rights; it is the owner's to run. */
export function makeLike(facts: TableFacts, schema: string, partitionBy: string): string[] {
  const made = qualified(schema, facts.name);
  const primary = facts.constraints.find(({ type }) => type === 'p');
  return [
    `CREATE TABLE ${made} (LIKE ${qualified(applicationSchema, facts.name)} INCLUDING ALL EXCLUDING INDEXES)${partitionBy}`,
    ...(primary === undefined
      ? []
      : [`ALTER TABLE ${made} ADD CONSTRAINT ${primary.name} ${primary.definition}`]),
    ...grantsOn(facts, made),
    ...(facts.comment === null ? [] : [`COMMENT ON TABLE ${made} IS ${quoteLiteral(facts.comment)}`]),
  ];
}

function grantsOn({ grants }: TableFacts, table: string): string[] {
  return grants.map(
    ({ privilege, column, grantee, grantable }) =>
      `GRANT ${privilege}${column === null ? '' : ` (${column})`} ON ${table} TO ${grantee}${grantable ? ' WITH GRANT OPTION' : ''}`,
  );
}

/** What of the other constraints and the indexes a table that was made like it lacks; names stay the same. */
export function missingIndexes(facts: TableFacts, made: TableFacts, schema: string): string[] {
  const name = qualified(schema, facts.name);
  const constraints = new Set(made.constraints.map((constraint) => constraint.name));
  const indexes = new Set(made.indexes.map((index) => index.name));
  return [
    ...facts.constraints
      .filter((constraint) => !constraints.has(constraint.name))
      .map((constraint) => `ALTER TABLE ${name} ADD CONSTRAINT ${constraint.name} ${constraint.definition}`),
    ...facts.indexes
      .filter((index) => !indexes.has(index.name))
      .map((index) => `${index.head} ON ${name} ${index.tail}`),
  ];
}

/**
 * Statements by which one table takes the place of another of the same name, which goes to `aside`. Sequences go on where they
 * are; the owner runs them.
 */
export function replaceTable(facts: TableFacts, from: string, aside: string): string[] {
  const name = quoteIdentifier(facts.name);
  const serving = qualified(applicationSchema, facts.name);
  const serials = facts.sequences.filter(({ isIdentity }) => !isIdentity);
  const identities = facts.sequences.filter(({ isIdentity }) => isIdentity);
  const next = qualified(from, facts.name);
  return [
    ...serials.map((sequence) => `ALTER SEQUENCE ${sequence.name} OWNED BY NONE`),
    ...identities.map(
      (sequence) =>
        `SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence(${quoteLiteral(next)}, ${quoteLiteral(sequence.columnName)}), ` +
        `s.last_value, s.is_called) FROM ${sequence.name} s`,
    ),
    `ALTER TABLE ${serving} SET SCHEMA ${quoteIdentifier(aside)}`,
    `ALTER TABLE ${quoteIdentifier(from)}.${name} SET SCHEMA ${quoteIdentifier(applicationSchema)}`,
    ...serials.map((sequence) => `ALTER SEQUENCE ${sequence.name} OWNED BY ${serving}.${sequence.column}`),
    // Also those that were given since the other table was made, as to a read model that copies this one.
    ...grantsOn(facts, serving),
  ];
}

/**
 * Statements by which read models go on with the table that serves in place of one that went to `aside`: what is committed
 * before comes from that one, what is committed after from this one. The operator runs them.
 */
export function carryPublications({ name, publications }: TableFacts, aside: string): string[] {
  return publications.flatMap(({ name: publication, columns, filter }) => [
    `ALTER PUBLICATION ${publication} DROP TABLE ${qualified(aside, name)}`,
    `ALTER PUBLICATION ${publication} ADD TABLE ${qualified(applicationSchema, name)}` +
      `${columns === null ? '' : ` (${columns})`}${filter === null ? '' : ` WHERE (${filter})`}`,
  ]);
}
