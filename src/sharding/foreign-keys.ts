import { qualified, quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts';
import { type Statement, statement } from '../postgres/statement.ts';
import type { Group, Layout } from './layout.ts';
import { applicationSchema, leafName } from './names.ts';
import type { Problem } from './problem.ts';
import type { ForeignKey, ShardCatalog } from './shard-catalog.ts';

/** How the foreign keys of the parents get to the leaves. */
export interface Relocation {
  /** All in one transaction, as the owner of the tables. */
  readonly statements: readonly Statement[];
  /** The keys that every leaf shall have. */
  readonly keys: readonly ForeignKey[];
  readonly problems: readonly Problem[];
}

/**
 * Plans to take the foreign keys off the distributed parents, to record them in `herdsman.foreign_keys`, and to put the
 * recorded ones on the leaves that are there. (Between parents, each ATTACH would lock all leaves of the other table and the
 * reference tables, and no leaf could be detached: so a bucket could not be moved.)
 */
export function planForeignKeys(layout: Layout, catalog: ShardCatalog): Relocation {
  const distributed = new Map(
    layout.groups.flatMap((group) => group.tables.map((table) => [table.name, group] as const)),
  );
  // A table that is still plain keeps its keys: they go to the leaves when it is converted.
  const plain = new Set(catalog.tables.filter(({ partitioned }) => !partitioned).map(({ name }) => name));
  const onParents = catalog.foreignKeys.filter((key) => distributed.has(key.table) && !plain.has(key.table));
  const problems = catalog.foreignKeys.flatMap((key) => keyProblems(key, distributed, catalog));
  const refused = new Set(problems.map((problem) => problem.key));
  const moved = onParents.filter((key) => !refused.has(key));
  const statements = moved.flatMap((key) => [
    statement(
      `ALTER TABLE ${qualified(applicationSchema, key.table)} DROP CONSTRAINT ${quoteIdentifier(key.name)}`,
    ),
    recordKey(key),
  ]);
  const replaced = new Set(moved.map(keyId));
  const keys = [...catalog.recordedKeys.filter((key) => !replaced.has(keyId(key))), ...moved];
  const present = new Set(catalog.foreignKeys.map(keyId));
  const parents = new Map(catalog.tables.map((table) => [table.name, table.parent]));
  for (const table of catalog.tables) {
    const [root, id] = bucketOfLeaf(table.name);
    const group = root === undefined ? undefined : distributed.get(root);
    if (group === undefined || root === undefined || table.refuses || table.partitioned) continue;
    if (table.parent === null || (table.parent !== root && parents.get(table.parent) !== root)) continue;
    for (const key of keys.filter((candidate) => candidate.table === root)) {
      if (present.has(keyId({ table: table.name, name: key.name }))) continue;
      statements.push(addKey(key, group, id));
    }
  }
  return { statements, keys, problems: problems.map(({ code, message }) => ({ code, message })) };
}

/** The table and the bucket that a leaf's name tells. */
export function bucketOfLeaf(name: string): [table: string | undefined, id: number] {
  const match = /^(.+)_b([0-9]{4})$/.exec(name);
  return [match?.[1], Number(match?.[2] ?? -1)];
}

/** Puts a recorded key on the leaf of a bucket: to the leaf of the same bucket, or to a table that is whole on the shard. */
export function addKey(key: ForeignKey, group: Group, bucket: number): Statement {
  const colocated = group.tables.some((table) => table.name === key.referencedTable) && isApplication(key);
  const referenced = colocated ? leafName(key.referencedTable, bucket) : key.referencedTable;
  return keyStatement(key, leafName(key.table, bucket), referenced);
}

/** Puts a recorded key on the table itself, which has become plain again. */
export function addPlainKey(key: ForeignKey): Statement {
  return keyStatement(key, key.table, key.referencedTable);
}

function keyStatement(key: ForeignKey, table: string, referenced: string): Statement {
  const columns = (names: readonly string[]) => names.map(quoteIdentifier).join(', ');
  const onDeleteColumns = key.onDeleteColumns.length === 0 ? '' : ` (${columns(key.onDeleteColumns)})`;
  return statement(
    `ALTER TABLE ${qualified(applicationSchema, table)} ADD CONSTRAINT ${quoteIdentifier(key.name)} ` +
      `FOREIGN KEY (${columns(key.columns)}) REFERENCES ${qualified(key.referencedSchema, referenced)} ` +
      `(${columns(key.referencedColumns)})${key.matchFull ? ' MATCH FULL' : ''} ON UPDATE ${key.onUpdate} ` +
      `ON DELETE ${key.onDelete}${onDeleteColumns}` +
      `${key.deferrable ? ` DEFERRABLE INITIALLY ${key.initiallyDeferred ? 'DEFERRED' : 'IMMEDIATE'}` : ''}`,
  );
}

function recordKey(key: ForeignKey): Statement {
  return statement(
    `INSERT INTO herdsman.foreign_keys (table_name, name, definition) VALUES (${quoteLiteral(key.table)}, ` +
      `${quoteLiteral(key.name)}, ${quoteLiteral(JSON.stringify(key))}::jsonb) ` +
      'ON CONFLICT (table_name, name) DO UPDATE SET definition = excluded.definition',
  );
}

interface KeyProblem extends Problem {
  readonly key: ForeignKey;
}

/** What no leaf can enforce: keys into another group's rows, and keys whose two sides may be in different buckets. */
function keyProblems(
  key: ForeignKey,
  distributed: ReadonlyMap<string, Group>,
  catalog: ShardCatalog,
): KeyProblem[] {
  const referenced = isApplication(key) ? distributed.get(key.referencedTable) : undefined;
  if (referenced === undefined) return [];
  const group = distributed.get(key.table);
  if (group === undefined) {
    // A leaf's own key, put there by us, never refers to a parent.
    if (catalog.tables.some((table) => table.name === key.table && table.parent !== null)) return [];
    return [
      {
        key,
        code: 'key-to-distributed',
        message:
          `foreign key "${key.name}" of "${key.table}" refers to the distributed table "${key.referencedTable}", whose rows ` +
          'may be on other shards: drop it, or distribute both tables in one group',
      },
    ];
  }
  if (referenced !== group) {
    return [
      {
        key,
        code: 'key-to-other-group',
        message:
          `foreign key "${key.name}" of "${key.table}" (group "${group.name}") refers to "${key.referencedTable}" (group ` +
          `"${referenced.name}"): put both tables into one group, make the other a reference table, or drop the key`,
      },
    ];
  }
  const from = group.tables.find((table) => table.name === key.table);
  const to = group.tables.find((table) => table.name === key.referencedTable);
  if (from === undefined || to === undefined) return [];
  const checks = catalog.tables.find((table) => table.name === key.table)?.checks ?? [];
  const paired = (a: string, b: string) =>
    key.columns.some(
      (column, index) => (column === a || areEqual(checks, column, a)) && key.referencedColumns[index] === b,
    );
  const divided = group.regions.some((region) => (region.buckets ?? 1) > 1);
  const hashes = divided && from.hashKey !== undefined && to.hashKey !== undefined;
  if (paired(from.key, to.key) && (!hashes || paired(from.hashKey ?? '', to.hashKey ?? ''))) return [];
  return [
    {
      key,
      code: 'key-without-partition-key',
      message:
        `foreign key "${key.name}" of "${key.table}" does not pair ${from.key} with ${to.key} of "${key.referencedTable}", so the ` +
        `two rows may be in different buckets: write "FOREIGN KEY (${from.key}, …) REFERENCES ${to.name} (${to.key}, …)", or ` +
        `"CHECK (${key.columns[key.referencedColumns.indexOf(to.key)] ?? 'column'} = ${from.key})" beside it`,
    },
  ];
}

/** Whether a CHECK of the table says that two columns are equal. */
function areEqual(checks: readonly string[], a: string, b: string): boolean {
  return checks.some((check) => {
    const [, left, right] = /^CHECK \(\(("[^"]+"|\w+) = ("[^"]+"|\w+)\)\)$/.exec(check) ?? [];
    const names = [left, right].map((name) => name?.replaceAll('"', ''));
    return names.includes(a) && names.includes(b);
  });
}

function isApplication(key: ForeignKey): boolean {
  return key.referencedSchema === applicationSchema;
}

function keyId(key: { readonly table: string; readonly name: string }): string {
  return `${key.table}\0${key.name}`;
}
