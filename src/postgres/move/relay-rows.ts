import { randomBytes } from 'node:crypto';
import type { StepResult } from '../../sharding/move/model.ts';
import { copyName } from '../../sharding/move/names.ts';
import type { Connection } from '../connection.ts';
import { relayCopy } from '../copy-relay.ts';
import { quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { scramVerifier } from '../scram.ts';
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
import { type CopiedLeaf, type CopyPart, partsOf } from './copied-leaf.ts';
import { makeSlot, withOwnSessions } from './copy-sessions.ts';
import { makeKey } from './intake.ts';
import { createPace, type Pace } from './pace.ts';

/** COPYs that run at once: with one, either server waits for the other; with more, writers wait for both. */
const streams = 2;
/** What text means the same on both sides by; rows that a policy hides are an error. */
const settings = [
  "SET LOCAL DateStyle = 'ISO, YMD'",
  'SET LOCAL IntervalStyle = postgres',
  'SET LOCAL extra_float_digits = 1',
  'SET LOCAL bytea_output = hex',
  'SET LOCAL row_security = off',
  'SET LOCAL idle_in_transaction_session_timeout = 0',
].join('; ');

/**
 * Step 2 through the operator: makes the failover slot, and copies what its snapshot sees, in binary form and several parts at
 * once, before there is a primary key. While it lasts the target's row of the move is locked, so that nobody takes the leaves away
 * under it.
 */
export async function relayRows(
  context: MoveContext,
  copy: number,
  leaves: readonly CopiedLeaf[],
): Promise<StepResult> {
  const name = copyName(context.move.id, copy);
  return withOwnSessions(context, async (open) => {
    const guard = await open('target', { applicationName: name });
    const owner = await ownerOf(guard, context, 'target');
    const password = await makeRole(context, owner, name, copy);
    const walsender = await open('source', { applicationName: name, replication: true });
    const snapshot = await makeSlot(context, walsender, name);
    // A slot waits for whoever has written on its server: of two moves that cross, each would wait for the other's row.
    await guard.query({ text: `BEGIN; ${settings}` });
    await guard.query({
      text: block(demandGuard(context, `m.copy = ${copy} AND NOT m.copied`, 'FOR SHARE')),
    });
    const pairs = await Promise.all(
      Array.from({ length: streams }, () => openPair(context, open, { name, password, snapshot })),
    );
    await walsender.close();
    await copyParts(context, pairs, leaves.flatMap(partsOf));
    for (const { target } of pairs) await target.query({ text: 'COMMIT' });
    await guard.query({
      text: [
        ...asOwner(
          owner,
          leavesOf(context, 'target').map((leaf) => block(`EXECUTE ${makeKey(leaf.qualified, leaf.table)};`)),
        ),
        `UPDATE herdsman.moves m SET copied = true WHERE ${guardCondition(context)} AND m.copy = ${copy}`,
        `DROP ROLE ${quoteIdentifier(name)}`,
        'COMMIT',
      ].join(';\n'),
    });
    return done;
  });
}

/** A role of the copy's own on the target: users' functions in generated columns and checks run with the owner's rights at most. */
async function makeRole(context: MoveContext, owner: string, name: string, copy: number): Promise<string> {
  const password = randomBytes(24).toString('base64url');
  await context.use('target', (connection) =>
    connection.transaction(async () => {
      await connection.query({ text: block(demandGuard(context, `m.copy = ${copy}`, 'FOR SHARE')) });
      await connection.query({
        text: `CREATE ROLE ${quoteIdentifier(name)} LOGIN PASSWORD ${quoteLiteral(scramVerifier(password))};
          GRANT ${quoteIdentifier(owner)} TO ${quoteIdentifier(name)}`,
      });
    }),
  );
  return password;
}

/** The two ends of a stream, each in a transaction. */
interface Pair {
  readonly source: Connection;
  readonly target: Connection;
}

async function openPair(
  context: MoveContext,
  open: MoveContext['open'],
  { name, password, snapshot }: { name: string; password: string; snapshot: string },
): Promise<Pair> {
  const [source, target] = await Promise.all([
    open('source', { applicationName: name }),
    open('target', { applicationName: name, login: { user: name, password } }),
  ]);
  // What takes the rows has the name of the source's leaf.
  const tables = [...leavesOf(context, 'source'), ...leavesOf(context, 'target')].map(
    (leaf) => leaf.qualified,
  );
  await source.query({
    text: `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshot)}; ${settings}`,
  });
  // Those that the guard knows now, and no others, however long the operator is paused.
  await target.query({
    text: `BEGIN; ${settings}; SET LOCAL synchronous_commit = on; LOCK TABLE ${[...new Set(tables)].join(', ')} IN ROW EXCLUSIVE MODE`,
  });
  return { source, target };
}

async function copyParts(
  context: MoveContext,
  pairs: readonly Pair[],
  all: readonly CopyPart[],
): Promise<void> {
  const parts = [...all];
  const { maxBytesPerSecond, report, signal } = context.copying ?? {};
  const pace = maxBytesPerSecond === undefined ? undefined : createPace(maxBytesPerSecond);
  const total = parts.reduce((sum, part) => sum + part.bytes, 0);
  let bytes = 0;
  let rows = 0;
  const tell = (more: number) => {
    bytes += more;
    report?.({ bytes: Math.min(Math.round(bytes), total), total, rows });
  };
  const failure = new AbortController();
  const ends = signal === undefined ? failure.signal : AbortSignal.any([failure.signal, signal]);
  const work = async (pair: Pair) => {
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
      rows += await copyPart(pair, part, pace, tell, ends);
      tell(0);
    }
  };
  // One that fails ends the other, whose work would be in vain.
  await Promise.all(
    pairs.map((pair) =>
      work(pair).catch((error) => {
        failure.abort(error);
        throw error;
      }),
    ),
  );
}

/** Copies one part; what is told of adds up to the part's share of the leaf's size. */
async function copyPart(
  { source, target }: Pair,
  part: CopyPart,
  pace: Pace | undefined,
  tell: (bytes: number) => void,
  signal: AbortSignal,
): Promise<number> {
  let told = 0;
  const pass = (bytes: number) => {
    const share = Math.min(bytes, part.bytes - told);
    told += share;
    tell(share);
    return pace?.take(bytes);
  };
  const rows = await relayCopy(source, target, part, { pass, signal });
  tell(part.bytes - told);
  return rows;
}
