import type { CelRule } from './common.ts';

/** Hash buckets of a group when none of its tables says how many. */
export const defaultBuckets = 64;

/** The colocation group of a table, in CEL. */
export function groupOf(table: string): string {
  return `(has(${table}.group) ? ${table}.group : ${table}.name)`;
}

/**
 * The groups of tables, in CEL: an entry for each table, empty for one that does not count. Rules bind it once and search it
 * with `in` and `indexOf`, which are native loops: comparing each pair of 200 tables in CEL took seconds.
 */
export function groupsOf(tables: string, counts: string): string {
  return `${tables}.map(t, ${counts} ? ${groupOf('t')} : '')`;
}

/** The first table of a group in a bound list of groups, in CEL. */
export function firstOf(tables: string, groups: string, table: string): string {
  return `${tables}[${groups}.indexOf(${groupOf(table)})]`;
}

/** A rule on each table `t` that counts, which sees `first`: the first table of its group that does. */
function likeFirst(counts: string, agrees: string, message: string): CelRule {
  return {
    rule:
      `[${groupsOf('self', counts)}].all(groups, self.all(t, !(${counts}) || ` +
      `(${agrees.replaceAll('first', firstOf('self', 'groups', 't'))})))`,
    message,
  };
}

const isDistributed = "t.strategy != 'reference'";

function sameWhereGiven(field: string): CelRule {
  return likeFirst(
    `has(t.${field})`,
    `t.${field} == first.${field}`,
    `tables of one colocation group share one layout, but these give different "${field}": write it on one of them`,
  );
}

function neededFor(strategy: string, field: string): CelRule {
  return {
    rule:
      `[${groupsOf('self', `has(t.${field})`)}].all(groups, ` +
      `self.all(t, t.strategy != '${strategy}' || ${groupOf('t')} in groups))`,
    message: `the strategy ${strategy} needs "${field}": write it on one table of the colocation group`,
  };
}

/** What the tables of `spec.tables` can have wrong among themselves. */
export const groupRules: readonly CelRule[] = [
  likeFirst(
    isDistributed,
    't.strategy == first.strategy',
    'tables of one colocation group have two strategies: give them the same "strategy", or another "group"',
  ),
  likeFirst(
    isDistributed,
    'has(t.hashKey) == has(first.hashKey)',
    'write "hashKey" on every table of the colocation group, or on none',
  ),
  sameWhereGiven('buckets'),
  sameWhereGiven('bounds'),
  sameWhereGiven('defaultBucket'),
  sameWhereGiven('regions'),
  sameWhereGiven('tenants'),
  neededFor('range', 'bounds'),
  neededFor('geographic', 'regions'),
];
