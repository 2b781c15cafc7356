import type { CelRule } from './common.ts';

/** Hash buckets of a group when none of its tables says how many. */
export const defaultBuckets = 64;

/** The colocation group of a table, in CEL. */
export function groupOf(table: string): string {
  return `(has(${table}.group) ? ${table}.group : ${table}.name)`;
}

/** Whether `a` and `b` are distributed tables of one group, in CEL. */
const together = `a.strategy != 'reference' && b.strategy != 'reference' && ${groupOf('a')} == ${groupOf('b')}`;

/** A rule on every pair of tables of one group. */
function inOneGroup(agrees: string, message: string): CelRule {
  return { rule: `self.all(a, self.all(b, !(${together}) || (${agrees})))`, message };
}

function sameWhereGiven(field: string): CelRule {
  return inOneGroup(
    `!has(a.${field}) || !has(b.${field}) || a.${field} == b.${field}`,
    `tables of one colocation group share one layout, but these give different "${field}": write it on one of them`,
  );
}

function neededFor(strategy: string, field: string): CelRule {
  return {
    rule:
      `self.all(a, a.strategy != '${strategy}' || ` +
      `self.exists(b, has(b.${field}) && ${groupOf('a')} == ${groupOf('b')}))`,
    message: `the strategy ${strategy} needs "${field}": write it on one table of the colocation group`,
  };
}

/** What the tables of `spec.tables` can have wrong among themselves. */
export const groupRules: readonly CelRule[] = [
  inOneGroup(
    'a.strategy == b.strategy',
    'tables of one colocation group have two strategies: give them the same "strategy", or another "group"',
  ),
  inOneGroup(
    'has(a.hashKey) == has(b.hashKey)',
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
