import { setTimeout as sleep } from 'node:timers/promises';
import type { StepResult } from '../../sharding/move/model.ts';
import type { Connection } from '../connection.ts';
import { quoteIdentifier } from '../identifier.ts';
import { isRetryable } from '../postgres-error.ts';
import { statement } from '../statement.ts';
import { done, type Leaf, leavesOf, type MoveContext, refused } from './context.ts';
import { newSentinel, writeSentinel } from './sentinel.ts';

/** How long writers may be kept out while the common point is set. */
const lockMs = 50;
/** Tries to set it. */
const maxTries = 20;
/** How long the stream may take to get there. */
const arrivalMs = 20_000;

/** What one side holds of one table at the common point. */
interface Digest {
  readonly rows: string;
  readonly hash: string;
}

/**
 * Step 5: counts, or hashes of all rows, on both sides at a common point. Under a SHARE lock of some ms a snapshot is taken on
 * the source and a sentinel committed; on the target the stream stops at that sentinel while both sides are read.
 */
export async function verify(context: MoveContext): Promise<StepResult> {
  if (context.move.verify === 'none') return done;
  return context.use(
    'target',
    (target) =>
      context.use(
        'source',
        (snapshot) => context.use('source', (lock) => atCommonPoint(context, target, snapshot, lock)),
        true,
      ),
    true,
  );
}

async function atCommonPoint(
  context: MoveContext,
  target: Connection,
  snapshot: Connection,
  lock: Connection,
): Promise<StepResult> {
  const key = `hashtextextended(${`'herdsman.move.${context.move.id}'`}, 0)`;
  const [held] = await target.query<{ held: boolean }>({
    text: `SELECT pg_try_advisory_lock(${key}) AS held`,
  });
  if (held?.held !== true) return refused('Verifying', 'somebody else verifies this move');
  try {
    if (!(await setPoint(context, snapshot, lock))) {
      return refused('Locked', 'writers did not leave a moment for the common point');
    }
    if (!(await hasArrived(target, key)))
      return refused('CatchingUp', 'the stream did not reach the common point');
    let verifiedRows = 0;
    for (const { name: table } of context.group.tables) {
      const parents = leavesOf(context, 'source').filter((leaf) => leaf.table === table);
      const children = leavesOf(context, 'target').filter((leaf) => leaf.table === table);
      const columns = await columnsOf(snapshot, parents[0]);
      const [ours, theirs] = await Promise.all([
        digest(context, snapshot, parents, columns),
        digest(context, target, children, columns),
      ]);
      if (ours.rows === theirs.rows && ours.hash === theirs.hash) {
        verifiedRows += Number(ours.rows);
        continue;
      }
      const message =
        `${parents.map((leaf) => leaf.name).join(' and ')}: ${ours.rows} rows on the source and ${theirs.rows} on the target, ` +
        'or other ones';
      return { kind: 'refused', reason: 'VerificationFailed', message, ends: 'copy' };
    }
    return { kind: 'done', verifiedRows };
  } finally {
    if (!target.closed) await target.query({ text: `SELECT pg_advisory_unlock(${key})` });
    if (!snapshot.closed) await snapshot.query({ text: 'ROLLBACK' });
  }
}

/** Sets the common point: the snapshot has what was committed before the sentinel, and nothing else. */
async function setPoint(context: MoveContext, snapshot: Connection, lock: Connection): Promise<boolean> {
  const leaves = leavesOf(context, 'source').map((leaf) => leaf.qualified);
  for (let attempt = 1; attempt <= maxTries; attempt += 1) {
    try {
      await lock.transaction(async () => {
        await lock.query({
          text: `SET LOCAL lock_timeout = ${lockMs}; LOCK TABLE ${leaves.join(', ')} IN SHARE MODE`,
        });
        await snapshot.query({ text: 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY' });
        await snapshot.query({ text: 'SELECT 1' });
        await lock.query(writeSentinel(newSentinel(context), true));
      });
      return true;
    } catch (error) {
      if (!isRetryable(error)) throw error;
      await sleep(attempt * 20);
    }
  }
  return false;
}

/** Whether the stream waits at the sentinel: all before it is committed. */
async function hasArrived(target: Connection, key: string): Promise<boolean> {
  const until = performance.now() + arrivalMs;
  for (let pause = 2; performance.now() < until; pause = Math.min(pause * 2, 100)) {
    const [row] = await target.query<{ waiting: boolean }>({
      text: `SELECT EXISTS (SELECT FROM pg_locks l, (SELECT ${key} AS k) key WHERE l.locktype = 'advisory' AND NOT l.granted
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND l.classid::int8 = (key.k >> 32) & 4294967295 AND l.objid::int8 = key.k & 4294967295 AND l.objsubid = 1) AS waiting`,
    });
    if (row?.waiting === true) return true;
    await sleep(pause);
  }
  return false;
}

/** Types whose own hash is that of their value alone, and the same on every server. */
const hashedTypes = [
  ...['bool', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'oid', 'uuid'],
  ...['date', 'time', 'timestamp', 'timestamptz', 'bytea'],
];

/** A column, and an expression of its hash, which is null where the value is. */
interface Column {
  readonly name: string;
  readonly hash: string;
}

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly builtIn: boolean;
  readonly hashedBy: string | null;
}

/**
 * The hash of each column, by its name, since the two sides may have them in another order; the place is the seed, so that values
 * that change places show. A function is called directly where there is one of the very type: a row of one column costs more.
 * Text is taken byte by byte. A type's own output makes text of everything else: a cast may be a user's function, which would run
 * with the operator's rights.
 */
async function columnsOf(connection: Connection, leaf: Leaf | undefined): Promise<Column[]> {
  const rows = await connection.query<ColumnRow>(
    statement(
      `SELECT a.attname AS name, t.typname AS type, t.typnamespace = 'pg_catalog'::regnamespace AS "builtIn", (
          SELECT f.proname FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash'
            JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amproclefttype = t.oid AND p.amprocrighttype = t.oid
            JOIN pg_proc f ON f.oid = p.amproc AND f.pronamespace = 'pg_catalog'::regnamespace AND f.proargtypes[0] = t.oid
            WHERE o.opcintype = t.oid AND o.opcdefault AND p.amprocnum = 2) AS "hashedBy"
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname`,
      leaf?.qualified,
    ),
  );
  return rows.map(({ name, type, builtIn, hashedBy }, seed) => {
    const column = `t.${quoteIdentifier(name)}`;
    if (builtIn && hashedTypes.includes(type)) {
      if (hashedBy !== null) return { name, hash: `${quoteIdentifier(hashedBy)}(${column}, ${seed})` };
      return { name, hash: `hash_record_extended(ROW(${column}), ${seed})` };
    }
    const isText = builtIn && (type === 'text' || type === 'varchar');
    const text = `CASE WHEN ${column} IS DISTINCT FROM NULL THEN format('%s', ${column}) END`;
    return { name, hash: `hashtextextended((${isText ? column : text}) COLLATE "C", ${seed})` };
  });
}

/** Rows of one table in all the leaves given, in whatever order. */
async function digest(
  { move }: MoveContext,
  connection: Connection,
  leaves: readonly Leaf[],
  columns: readonly Column[],
): Promise<Digest> {
  const list = columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  // Something else than any hash stands for null.
  const values = columns.map(({ hash }, place) => `coalesce(${hash}, ${place})`).join(' # ');
  const rows = leaves.map((leaf) => `SELECT ${list} FROM ${leaf.qualified}`).join(' UNION ALL ');
  const hash = move.verify === 'counts' ? "''" : `coalesce(sum(hashint8extended(${values}, 0)), 0)::text`;
  const settings =
    "SET DateStyle = ISO; SET TimeZone = 'UTC'; SET IntervalStyle = postgres; SET extra_float_digits = 1; SET bytea_output = hex";
  const [found] = await connection.query<Digest>({
    text: `${settings}; SELECT count(*)::text AS rows, ${hash} AS hash FROM (${rows}) t`,
  });
  return found ?? { rows: '', hash: '' };
}
