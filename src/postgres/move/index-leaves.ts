import { boundClause } from '../../sharding/bound-clause.ts';
import { addKey } from '../../sharding/foreign-keys.ts';
import { isReshape } from '../../sharding/move/buckets.ts';
import type { StepResult } from '../../sharding/move/model.ts';
import { applicationSchema, hasPlace, leafName, placeName } from '../../sharding/names.ts';
import { addPlace } from '../../sharding/places.ts';
import type { ForeignKey } from '../../sharding/shard-catalog.ts';
import { readKeyCatalog } from '../catalog.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { statement } from '../statement.ts';
import {
  asOwner,
  block,
  demandGuard,
  done,
  type Leaf,
  leavesOf,
  type MoveContext,
  ownerOf,
} from './context.ts';
import { findTableChange } from './table-change.ts';

/** Statistics target of the first ANALYZE, by which 3,000 rows are read; by the usual one it is nearly all of a leaf. */
const firstLook = 10;

/**
 * Step 4 on the target: the other indexes, the foreign keys, and a CHECK that says what the bound says, so that ATTACH scans
 * nothing. All validated while nobody waits. On both sides autovacuum is sent away, since the fence does not wait for it.
 */
export async function indexLeaves(context: MoveContext, copy: number): Promise<StepResult> {
  const changed = await findTableChange(context);
  if (changed !== undefined) return changed;
  await context.use('target', (connection) => indexTarget(connection, context, copy), true);
  await context.use('source', async (connection) => {
    for (const leaf of leavesOf(context, 'source')) {
      // Whoever was paused until the move is over must not send it away for good.
      const guard = block(demandGuard(context, `m.copy = ${copy}`, 'FOR SHARE'));
      await runTogether(connection, [guard, `ALTER TABLE ${leaf.qualified} SET (autovacuum_enabled = off)`]);
    }
  });
  return done;
}

async function indexTarget(connection: Connection, context: MoveContext, copy: number): Promise<void> {
  const owner = await ownerOf(connection, context, 'target');
  const guard = block(demandGuard(context, `m.copy = ${copy}`, 'FOR SHARE'));
  const { recordedKeys } = await readKeyCatalog(connection);
  await makePlaces(connection, context, guard, owner);
  const run = (statements: readonly string[]) =>
    runTogether(connection, [guard, ...asOwner(owner, statements)]);
  const leaves = leavesOf(context, 'target');
  for (const leaf of leaves) {
    for (const text of await missingIndexes(connection, leaf)) await run([text]);
    for (const text of await missingBound(connection, leaf, owner)) await run([text]);
  }
  for (const leaf of leaves) {
    const keys = recordedKeys.filter((key) => key.table === leaf.table);
    for (const text of await missingKeys(connection, context, leaf, keys)) await run([text]);
    // A look at few rows is enough to begin with; a thorough one follows when the bucket has its new owner.
    await connection.query({
      text: `BEGIN; SET LOCAL default_statistics_target = ${firstLook}; ANALYZE ${leaf.qualified}; COMMIT`,
    });
  }
}

/** The place of a tenant that is taken out of the default. Nobody writes its rows here, so that it only has to keep writers waiting briefly. */
async function makePlaces(
  connection: Connection,
  { group, owned, move }: MoveContext,
  guard: string,
  owner: string,
): Promise<void> {
  for (const bucket of isReshape(move) ? move.children.filter((child) => hasPlace(child, owned)) : []) {
    for (const table of group.tables) {
      const place = qualified(applicationSchema, placeName(table.name, bucket.id));
      const found = await connection.query(
        statement('SELECT FROM pg_class WHERE oid = to_regclass($1)', place),
      );
      if (found.length > 0) continue;
      for (const part of addPlace(table, bucket)) {
        const texts = part.map(({ text }) => text);
        await runTogether(connection, [guard, ...asOwner(owner, texts)]);
      }
    }
  }
}

interface IndexRow {
  readonly definition: string;
  readonly constraint: string | null;
}

/** Indexes of the parent that the leaf has no equal of. Names are left to PostgreSQL. */
async function missingIndexes(connection: Connection, leaf: Leaf): Promise<string[]> {
  const root = qualified(applicationSchema, leaf.table);
  const query = `
    SELECT regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX .*? ON (ONLY )?[^ ]+ USING ', 'CREATE \\1INDEX ON %s USING ')
        AS definition, pg_get_constraintdef(k.oid) AS constraint
      FROM pg_index i LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x') AND k.conrelid = i.indrelid
      WHERE i.indrelid = $1::regclass AND NOT i.indisprimary ORDER BY i.indexrelid`;
  const wanted = await connection.query<IndexRow>(statement(query, root));
  const present = (await connection.query<IndexRow>(statement(query, leaf.qualified))).map(
    (row) => row.constraint ?? row.definition,
  );
  return wanted.flatMap(({ definition, constraint }) => {
    const place = present.indexOf(constraint ?? definition);
    if (place >= 0) {
      present.splice(place, 1);
      return [];
    }
    if (constraint !== null) return [`ALTER TABLE ${leaf.qualified} ADD ${constraint}`];
    return [definition.replace('%s', () => leaf.qualified)];
  });
}

/** The recorded foreign keys, added without a look at the rows and validated after, which lets the other table's writers pass. */
async function missingKeys(
  connection: Connection,
  { group }: MoveContext,
  leaf: Leaf,
  keys: readonly ForeignKey[],
): Promise<string[]> {
  const present = await connection.query<{ name: string; valid: boolean }>(
    statement(
      "SELECT conname AS name, convalidated AS valid FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'f'",
      leaf.qualified,
    ),
  );
  return keys.flatMap((key) => {
    const found = present.find(({ name }) => name === key.name);
    if (found?.valid === true) return [];
    const validate = `ALTER TABLE ${leaf.qualified} VALIDATE CONSTRAINT ${quoteIdentifier(key.name)}`;
    return found === undefined
      ? [`${addKey(key, group, leaf.bucket.id).text} NOT VALID`, validate]
      : [validate];
  });
}

/**
 * PostgreSQL itself says what the bound comes to, its ancestors' too: an empty table is attached for a moment, in a transaction
 * that is rolled back.
 */
async function missingBound(connection: Connection, leaf: Leaf, owner: string): Promise<string[]> {
  const [found] = await connection.query<{ valid: boolean }>(
    statement(
      "SELECT convalidated AS valid FROM pg_constraint WHERE conrelid = $1::regclass AND conname = 'herdsman_bound'",
      leaf.qualified,
    ),
  );
  const validate = `ALTER TABLE ${leaf.qualified} VALIDATE CONSTRAINT herdsman_bound`;
  if (found !== undefined) return found.valid ? [] : [validate];
  const probe = qualified(applicationSchema, leafName('hm_probe', leaf.bucket.id));
  await connection.query({ text: 'BEGIN' });
  try {
    const [row] = await connection.query<{ bound: string }>({
      text: [
        'SET LOCAL lock_timeout = 1000',
        `SET LOCAL ROLE ${quoteIdentifier(owner)}`,
        `CREATE TABLE ${probe} (LIKE ${leaf.parent} INCLUDING CONSTRAINTS INCLUDING GENERATED)`,
        `ALTER TABLE ${leaf.parent} ATTACH PARTITION ${probe} ${boundClause(leaf.bucket)}`,
        `SELECT pg_get_partition_constraintdef(${quoteLiteral(probe)}::regclass) AS bound`,
      ].join(';\n'),
    });
    return [
      `ALTER TABLE ${leaf.qualified} ADD CONSTRAINT herdsman_bound CHECK (${row?.bound}) NOT VALID`,
      validate,
    ];
  } finally {
    if (!connection.closed) await connection.query({ text: 'ROLLBACK' });
  }
}
