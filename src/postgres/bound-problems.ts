import type { Bound } from '../api/v1alpha1/table.ts';
import { emptyRange, overlap } from '../sharding/bounds.ts';
import type { Group } from '../sharding/layout.ts';
import type { Problem } from '../sharding/problem.ts';
import { askAsOwner } from './ask-as-owner.ts';
import type { Connection } from './connection.ts';
import { findKeyType, type KeyType } from './key-type.ts';
import { PostgresError } from './postgres-error.ts';

/** Problems of one group that are told. */
const mostTold = 5;

/**
 * What only PostgreSQL knows of bounds and values: whether they are keys at all, and whether they meet in the order of the key's
 * type and collation. Asked before there is a bucket, since none is ever taken back.
 */
export async function readBoundProblems(
  connection: Connection,
  groups: readonly Group[],
): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const group of groups) problems.push(...(await judge(connection, group)));
  return problems;
}

async function judge(connection: Connection, group: Group): Promise<Problem[]> {
  const table = group.tables[0];
  const type = table && (await findKeyType(connection, table.name, table.key));
  if (table === undefined || type === undefined) return [];
  const values = [
    ...group.regions.flatMap((region) => region.values),
    ...group.tenants.map(({ value }) => value),
  ];
  try {
    return [
      ...(group.bounds.length === 0 ? [] : await judgeRanges(connection, group.name, group.bounds, type)),
      ...(values.length === 0 ? [] : await judgeValues(connection, group.name, values, type)),
    ];
  } catch (error) {
    const isNoKey = error instanceof PostgresError && /^2[23]/.test(error.sqlstate);
    // What it cannot compare this way it judges when the partitions are made.
    if (!isNoKey) return passOver(error);
    const message = `group "${group.name}": a bound or value is no key of table "${table.name}" (${table.key} ${type.type}): ${error.message}`;
    return [{ code: 'no-key', message }];
  }
}

function passOver(error: unknown): Problem[] {
  if (error instanceof PostgresError) return [];
  throw error;
}

/** Places of bounds or values, counted from 1; `second` is null where one is wrong by itself. */
interface Pair {
  readonly first: number;
  readonly second: number | null;
}

async function judgeRanges(
  connection: Connection,
  group: string,
  bounds: readonly Bound[],
  { type, collation, owner }: KeyType,
): Promise<Problem[]> {
  const pairs = await askAsOwner<Pair>(connection, owner, {
    text: `WITH range AS (SELECT place, (bound ->> 'from')::${type}${collation} AS lower, (bound ->> 'to')::${type}${collation} AS upper
        FROM json_array_elements($1::json) WITH ORDINALITY AS given (bound, place))
      SELECT place AS first, NULL::int8 AS second FROM range WHERE lower >= upper
      UNION ALL SELECT a.place, b.place FROM range a JOIN range b ON a.place < b.place
        WHERE (a.lower IS NULL OR b.upper IS NULL OR a.lower < b.upper) AND (b.lower IS NULL OR a.upper IS NULL OR b.lower < a.upper)
          AND NOT EXISTS (SELECT FROM range WHERE lower >= upper)
      LIMIT ${mostTold}`,
    values: [JSON.stringify(bounds)],
  });
  return pairs.flatMap(({ first, second }) => {
    const one = bounds[first - 1];
    const other = second === null ? undefined : bounds[second - 1];
    if (one === undefined) return [];
    const order = ` in the order of the key (${type}${collation})`;
    return [other === undefined ? emptyRange(group, one, order) : overlap(group, one, other, order)];
  });
}

async function judgeValues(
  connection: Connection,
  group: string,
  values: readonly string[],
  { type, collation, owner }: KeyType,
): Promise<Problem[]> {
  const pairs = await askAsOwner<Pair>(connection, owner, {
    text: `WITH key AS (SELECT place, text::${type}${collation} AS value
        FROM json_array_elements_text($1::json) WITH ORDINALITY AS given (text, place))
      SELECT a.place AS first, b.place AS second FROM key a JOIN key b ON a.place < b.place AND a.value = b.value
      LIMIT ${mostTold}`,
    values: [JSON.stringify(values)],
  });
  return pairs.map(({ first, second }) => ({
    code: 'same-value',
    message:
      `group "${group}": "${values[first - 1]}" and "${values[(second ?? first) - 1]}" are the same key ` +
      `(${type}${collation}): write it once`,
  }));
}
