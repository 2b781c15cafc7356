import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { idsOf, isReshape } from '../../sharding/move/buckets.ts';
import type { StepResult } from '../../sharding/move/model.ts';
import { copyName, movePrefix } from '../../sharding/move/names.ts';
import { applicationSchema, hasPlace } from '../../sharding/names.ts';
import { dropPlace } from '../../sharding/places.ts';
import type { Connection } from '../connection.ts';
import { conninfoOf, setConninfo } from '../conninfo.ts';
import { quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { scramVerifier } from '../scram.ts';
import { statement } from '../statement.ts';
import {
  asOwner,
  block,
  demandGuard,
  done,
  guardCondition,
  leavesOf,
  type MoveContext,
  ownerOf,
} from './context.ts';
import { dropIntakes, makeIntakes, makeTable } from './intake.ts';

/** How long a walsender may take to leave its slot. */
const releaseMs = 10_000;

/** Step 1: the row by which a shard knows the move, and the empty leaves on the target; each all or nothing. */
export async function stage(context: MoveContext, copy: number): Promise<StepResult> {
  const { move, group } = context;
  const ids = idsOf(move).join(', ');
  const insert =
    `INSERT INTO herdsman.moves (group_name, bucket, move, copy) SELECT ${quoteLiteral(group.name)}, id, ` +
    `${quoteLiteral(move.key)}, ${copy} FROM unnest(ARRAY[${ids}]) id;`;
  const known = demandGuard(context, `m.copy = ${copy}`, 'FOR SHARE');
  const isKnown = `EXISTS (SELECT FROM herdsman.moves m WHERE m.group_name = ${quoteLiteral(group.name)} AND m.bucket IN (${ids}))`;
  await context.use('target', async (connection) => {
    const owner = await ownerOf(connection, context, 'target');
    const leaves = leavesOf(context, 'target').map((leaf) => makeTable(leaf.qualified, leaf.table));
    const make = [...leaves, ...makeIntakes(context)].map((text) => `EXECUTE ${text};`).join(' ');
    await runTogether(connection, [
      block(
        `IF ${isKnown} THEN ${known} ELSE ${insert} SET LOCAL ROLE ${quoteIdentifier(owner)}; ${make} RESET ROLE; END IF;`,
      ),
    ]);
  });
  await context.use('source', (connection) =>
    runTogether(connection, [block(`IF ${isKnown} THEN ${known} ELSE ${insert} END IF;`)]),
  );
  return done;
}

/** Step 2: what the target will read on the source, and a role of this copy's own that may read it. */
export async function publish(context: MoveContext, copy: number): Promise<StepResult> {
  const name = quoteIdentifier(copyName(context.move.id, copy));
  const literal = quoteLiteral(copyName(context.move.id, copy));
  const leaves = leavesOf(context, 'source').map((leaf) => leaf.qualified);
  return context.use('source', async (connection) => {
    const owner = await ownerOf(connection, context, 'source');
    const [database] = await connection.query<{ name: string }>({
      text: 'SELECT quote_ident(current_database()) AS name',
    });
    await runTogether(connection, [
      block(demandGuard(context, `m.copy = ${copy}`, 'FOR SHARE')),
      block(
        `IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${literal}) THEN
          CREATE ROLE ${name} LOGIN REPLICATION BYPASSRLS; END IF;`,
      ),
      `GRANT USAGE ON SCHEMA herdsman TO ${name}`,
      `GRANT SELECT ON herdsman.move_sentinels TO ${name}`,
      ...asOwner(owner, [
        `GRANT CONNECT ON DATABASE ${database?.name} TO ${name}`,
        `GRANT USAGE ON SCHEMA ${quoteIdentifier(applicationSchema)} TO ${name}`,
        `GRANT SELECT ON ${leaves.join(', ')} TO ${name}`,
      ]),
      block(
        `IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = ${literal}) THEN
          CREATE PUBLICATION ${name} FOR TABLE ${leaves.join(', ')},
            TABLE herdsman.move_sentinels WHERE (id = ${quoteLiteral(context.move.id)}); END IF;`,
      ),
    ]);
    return done;
  });
}

/**
 * Starts the stream from the copy's slot; with `copyData` the servers copy the tables first. The role gets a password that is nowhere
 * but in the subscription, and an error tells nothing of it.
 */
export async function subscribe(
  context: MoveContext,
  copy: number,
  { copyData, binary }: { readonly copyData: boolean; readonly binary: boolean } = {
    copyData: false,
    binary: false,
  },
): Promise<StepResult> {
  const name = copyName(context.move.id, copy);
  const password = randomBytes(24).toString('base64url');
  await context.use('source', (connection) =>
    connection.query({
      text: `ALTER ROLE ${quoteIdentifier(name)} PASSWORD ${quoteLiteral(scramVerifier(password))}`,
    }),
  );
  const parameters = { ...context.sourceAddress, user: name, password, application_name: name };
  return context.use('target', (connection) =>
    connection.transaction(async () => {
      await connection.query({
        text: block(demandGuard(context, `m.copy = ${copy}`, 'FOR SHARE')),
      });
      await setConninfo(connection, conninfoOf(parameters));
      await connection.query({
        text: block(
          `EXECUTE format('CREATE SUBSCRIPTION ${quoteIdentifier(name)} CONNECTION %L PUBLICATION ${quoteIdentifier(name)}
            WITH (create_slot = false, copy_data = ${copyData}, binary = ${binary}, slot_name = ${quoteIdentifier(name)},
              failover = true, origin = any, streaming = off)',
            current_setting('herdsman.conninfo'));
          EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION 'cannot subscribe: %', SQLERRM USING ERRCODE = SQLSTATE;`,
        ),
      });
      return done;
    }),
  );
}

interface Subscription {
  readonly oid: number;
  readonly name: string;
}

/** Takes subscriptions of this copy and older ones away, with all their slots: the subscription last, since it names them. */
export async function unsubscribe(context: MoveContext, copy: number): Promise<StepResult> {
  const prefix = movePrefix(context.move.id);
  const subscriptions = await context.use('target', async (connection) => {
    const found = await connection.query<Subscription>(
      statement(
        `SELECT s.oid::int8::int AS oid, s.subname AS name FROM pg_subscription s
          WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND starts_with(s.subname, $1)`,
        prefix,
      ),
    );
    const old = found.filter(({ name }) => isOld(name, copy));
    for (const { name } of old) {
      await connection.query({ text: `ALTER SUBSCRIPTION ${quoteIdentifier(name)} DISABLE` });
    }
    return old;
  });
  await context.use('source', (connection) => dropSlots(connection, prefix, copy, subscriptions));
  await context.use('target', async (connection) => {
    for (const { name } of subscriptions) {
      const quoted = quoteIdentifier(name);
      await connection.query({ text: `ALTER SUBSCRIPTION ${quoted} SET (slot_name = NONE)` });
      await connection.query({ text: `DROP SUBSCRIPTION ${quoted}` });
    }
  });
  return done;
}

function isOld(name: string, copy: number): boolean {
  return Number(name.split('_').at(-1)) <= copy;
}

async function dropSlots(
  connection: Connection,
  prefix: string,
  copy: number,
  subscriptions: readonly Subscription[],
): Promise<void> {
  const until = performance.now() + releaseMs;
  for (let wait = 0; ; wait = 50) {
    await sleep(wait);
    const slots = await connection.query<{ name: string; pid: number | null }>(
      statement(
        `SELECT s.slot_name AS name, s.active_pid AS pid FROM pg_replication_slots s WHERE s.database = current_database()
          AND (starts_with(s.slot_name, $1) OR s.slot_name ~ ('^pg_(' || $2 || ')_sync_'))`,
        prefix,
        subscriptions.length === 0 ? 'none' : subscriptions.map(({ oid }) => oid).join('|'),
      ),
    );
    const old = slots.filter(({ name }) => !name.startsWith(prefix) || isOld(name, copy));
    for (const { name, pid } of old) {
      if (pid === null) await connection.query(statement('SELECT pg_drop_replication_slot($1)', name));
      else await connection.query(statement('SELECT pg_terminate_backend($1)', pid));
    }
    if (old.every(({ pid }) => pid === null)) return;
    if (performance.now() > until) throw new Error(`slot ${old[0]?.name} stays in use`);
  }
}

/** Drops the leaves that never got rows of their own, unless another copy uses them or they have become the owner's. */
export async function unstage(context: MoveContext, copy: number): Promise<StepResult> {
  const leaves = leavesOf(context, 'target');
  const name = copyName(context.move.id, copy);
  return context.use('target', async (connection) => {
    const owner = await ownerOf(connection, context, 'target');
    const attached = leaves
      .map(
        (leaf) =>
          `EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = to_regclass(${quoteLiteral(leaf.qualified)}) ` +
          `AND i.inhparent = to_regclass(${quoteLiteral(leaf.parent)}))`,
      )
      .join(' OR ');
    const places = context.move.children
      .filter((child) => isReshape(context.move) && hasPlace(child, context.owned))
      .flatMap((child) => context.group.tables.flatMap((table) => dropPlace(table, child)));
    await endSessions(connection, name);
    await runTogether(connection, [
      block(
        `PERFORM FROM herdsman.moves m WHERE ${guardCondition(context)} AND m.copy = ${copy} AND NOT m.armed FOR UPDATE;
        IF FOUND AND NOT (${attached}) THEN
          IF EXISTS (SELECT FROM pg_roles WHERE rolname = ${quoteLiteral(name)}) THEN DROP ROLE ${quoteIdentifier(name)}; END IF;
          DELETE FROM herdsman.moves m WHERE ${guardCondition(context)};
          DELETE FROM herdsman.move_sentinels WHERE id = ${quoteLiteral(context.move.id)};
          SET LOCAL ROLE ${quoteIdentifier(owner)};
          ${dropIntakes(context)}
          DROP TABLE IF EXISTS ${leaves.map((leaf) => leaf.qualified).join(', ')};
          ${places.map((text) => `${text};`).join(' ')}
          RESET ROLE;
        END IF;`,
      ),
    ]);
    return done;
  });
}

/** Ends the sessions of a copy: an operator that is paused would keep their locks. */
async function endSessions(connection: Connection, name: string): Promise<void> {
  await connection.query(
    statement(
      'SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.application_name = $1',
      name,
    ),
  );
}

/** Drops publications and roles of this copy and older ones. */
export async function unpublish(context: MoveContext, copy: number): Promise<StepResult> {
  const prefix = movePrefix(context.move.id);
  return context.use('source', async (connection) => {
    const found = await connection.query<{ kind: 'publication' | 'role'; name: string }>(
      statement(
        `SELECT 'publication' AS kind, p.pubname AS name FROM pg_publication p WHERE starts_with(p.pubname, $1)
          UNION ALL SELECT 'role', r.rolname FROM pg_roles r WHERE starts_with(r.rolname, $1)`,
        prefix,
      ),
    );
    const statements = found
      .filter(({ name }) => isOld(name, copy))
      .flatMap(({ kind, name }) => {
        const quoted = quoteIdentifier(name);
        if (kind === 'publication') return [`DROP PUBLICATION IF EXISTS ${quoted}`];
        // Whoever made a role may give itself its rights, which dropping what it was granted needs.
        return [
          `GRANT ${quoted} TO CURRENT_USER WITH INHERIT TRUE`,
          `DROP OWNED BY ${quoted}`,
          `DROP ROLE ${quoted}`,
        ];
      });
    if (statements.length > 0) await runTogether(connection, statements);
    return done;
  });
}
