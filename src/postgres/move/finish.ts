import { isReshape } from '../../sharding/move/buckets.ts';
import type { StepResult } from '../../sharding/move/model.ts';
import { movePrefix, retiredName } from '../../sharding/move/names.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { statement } from '../statement.ts';
import {
  asOwner,
  block,
  done,
  guardCondition,
  type Leaf,
  leavesOf,
  type MoveContext,
  markerOf,
  ownerOf,
  refused,
} from './context.ts';
import { dropIntakes, intakesOf } from './intake.ts';

/** How long a DETACH that nobody may write beside waits for its locks. */
const detachLockMs = 100;

/**
 * Gives the leaves of the owner back what the move took from them: autovacuum, thorough statistics, and no CHECK of the bound.
 * The target's have left the tables that the stream came through, so that these can go.
 */
export async function settle(context: MoveContext): Promise<StepResult> {
  for (const side of ['target', 'source'] as const) {
    await context.use(
      side,
      async (connection) => {
        let attached = 0;
        const leaves = leavesOf(context, side);
        for (const leaf of leaves) {
          const [state] = await connection.query<{ attached: boolean }>(
            statement(
              `SELECT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = to_regclass($1)
              AND i.inhparent = to_regclass($2)) AS attached`,
              leaf.qualified,
              leaf.parent,
            ),
          );
          if (state?.attached !== true) continue;
          attached += 1;
          await runTogether(
            connection,
            [
              `ALTER TABLE ${leaf.qualified} RESET (autovacuum_enabled)`,
              `ALTER TABLE ${leaf.qualified} DROP CONSTRAINT IF EXISTS herdsman_bound`,
            ],
            { lockTimeoutMs: detachLockMs },
          );
          if (side === 'target') await connection.query({ text: `ANALYZE ${leaf.qualified}` });
        }
        if (side === 'target' && attached === leaves.length && isReshape(context.move)) {
          const known = `PERFORM FROM herdsman.moves m WHERE ${guardCondition(context)} FOR SHARE`;
          const drop = `${known}; IF FOUND THEN ${dropIntakes(context)} END IF;`;
          await runTogether(connection, [block(drop)], { lockTimeoutMs: detachLockMs });
        }
      },
      true,
    );
  }
  return done;
}

interface LeafState {
  readonly attached: boolean;
  readonly detaching: boolean;
  readonly refuses: boolean;
  readonly hasDefault: boolean;
}

/** Takes the dead leaves out of their parents. Only where the marker is gone and every leaf refuses writes. */
export async function detach(context: MoveContext): Promise<StepResult> {
  return context.use('source', async (connection) => {
    for (const bucket of context.move.parents) {
      const [marker] = await connection.query<{ there: boolean }>(
        statement('SELECT to_regclass($1) IS NOT NULL AS there', markerOf(context, bucket)),
      );
      if (marker?.there !== false) return refused('StillTheOwner', 'the source still has the marker');
    }
    for (const leaf of leavesOf(context, 'source')) {
      const [state] = await connection.query<LeafState>(
        statement(
          `SELECT c.relispartition AS attached, coalesce(i.inhdetachpending, false) AS detaching,
              EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'herdsman_refuse') AS refuses,
              EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = i.inhparent AND p.partdefid <> 0) AS "hasDefault"
            FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.oid = to_regclass($1)`,
          leaf.qualified,
        ),
      );
      if (state?.attached !== true) continue;
      if (!state.refuses) return refused('StillTheOwner', `${leaf.name} takes writes`);
      await detachLeaf(connection, leaf, state);
    }
    return done;
  });
}

async function detachLeaf(connection: Connection, leaf: Leaf, state: LeafState): Promise<void> {
  const command = `ALTER TABLE ${leaf.parent} DETACH PARTITION ${leaf.qualified}`;
  if (state.detaching) await connection.query({ text: `${command} FINALIZE` });
  else if (state.hasDefault) await runTogether(connection, [command], { lockTimeoutMs: detachLockMs });
  else await connection.query({ text: `${command} CONCURRENTLY` });
}

/** Renames the dead leaves, all at once, so that the bucket may come back while they wait for the end of the retention. */
export async function retire(context: MoveContext): Promise<StepResult> {
  const { move } = context;
  return context.use('source', async (connection) => {
    const owner = await ownerOf(connection, context, 'source');
    const keyless: string[] = [];
    const statements: string[] = [];
    for (const [index, leaf] of leavesOf(context, 'source').entries()) {
      const [state] = await connection.query<{ attached: boolean; refuses: boolean }>(
        statement(
          `SELECT c.relispartition AS attached,
              EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'herdsman_refuse') AS refuses
            FROM pg_class c WHERE c.oid = to_regclass($1)`,
          leaf.qualified,
        ),
      );
      if (state === undefined) continue;
      if (state.attached || !state.refuses) return refused('StillTheOwner', `${leaf.name} is in use`);
      // What is dead must not keep the rows of reference tables alive.
      const keys = await connection.query<{ name: string }>(
        statement(
          "SELECT quote_ident(conname) AS name FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'f'",
          leaf.qualified,
        ),
      );
      keyless.push(
        ...keys.map((key) => `ALTER TABLE ${leaf.qualified} DROP CONSTRAINT IF EXISTS ${key.name}`),
      );
      const name = retiredName(move.id, index);
      const comment = `${leaf.name}, moved to ${move.to}; Herdsman drops it when the move's retention is over`;
      statements.push(
        `ALTER TABLE ${leaf.qualified} RENAME TO ${quoteIdentifier(name)}`,
        `COMMENT ON TABLE ${qualified(applicationSchema, name)} IS ${quoteLiteral(comment)}`,
      );
    }
    if (statements.length === 0) return done;
    await runTogether(connection, asOwner(owner, [...keyless, ...statements]), {
      lockTimeoutMs: detachLockMs,
    });
    return done;
  });
}

/** Lets both shards forget the move; the target only when no empty leaf waits there for rows. */
export async function forget(context: MoveContext, copy: number): Promise<StepResult> {
  const { move } = context;
  for (const side of ['source', 'target'] as const) {
    const names = [...leavesOf(context, side), ...(side === 'target' ? intakesOf(context) : [])].map(
      (table) => table.name,
    );
    await context.use(side, (connection) =>
      connection.transaction(async () => {
        await connection.query({ text: 'SET LOCAL lock_timeout = 500' });
        await connection.query(
          statement(
            `DELETE FROM herdsman.moves m WHERE ${guardCondition(context)} AND m.copy <= $1 AND NOT EXISTS (
              SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY ($2::text[])
                AND NOT c.relispartition)`,
            copy,
            names,
          ),
        );
        await connection.query(statement('DELETE FROM herdsman.move_sentinels WHERE id = $1', move.id));
      }),
    );
  }
  return done;
}

/** Drops what was kept for the retention. */
export async function dropRetired({ move, use }: Pick<MoveContext, 'move' | 'use'>): Promise<StepResult> {
  return use('source', async (connection) => {
    const tables = await connection.query<{ name: string }>(
      statement(
        `SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
          AND NOT c.relispartition AND starts_with(c.relname, $1)`,
        `${movePrefix(move.id)}old_`,
      ),
    );
    const names = tables.map(({ name }) => qualified(applicationSchema, name));
    if (names.length > 0) await runTogether(connection, [`DROP TABLE ${names.join(', ')}`]);
    return done;
  });
}
