import type { CelRule } from './common.ts';

/** Text that PostgreSQL and CEL order in the same way: whole numbers, and dates and times that start with the year. */
const wholeNumber = "r'^-?\\d+$'";
const date = "r'^\\d{4}-'";

/** Whether CEL can order two bounds as numbers (of at most 18 characters, so that they fit) or as dates. */
function comparison(a: string, b: string, asNumbers: string, asDates: string, otherwise: string): string {
  const numbers = `${a}.size() < 19 && ${b}.size() < 19 && ${a}.matches(${wholeNumber}) && ${b}.matches(${wholeNumber})`;
  const dates = `${a}.matches(${date}) && ${b}.matches(${date})`;
  return `(${numbers} ? int(${a}) ${asNumbers} int(${b}) : ${dates} ? ${a} ${asDates} ${b} : ${otherwise})`;
}

/** Whether a bound is below another; other texts are ordered by a collation that only PostgreSQL knows. */
function below(a: string, b: string): string {
  return comparison(a, b, '<', '<', `${a} != ${b}`);
}

function notAbove(a: string, b: string): string {
  return comparison(a, b, '<=', '<=', 'true');
}

function onlyFor(field: string, ...strategies: readonly string[]): CelRule {
  const names = strategies.map((strategy) => `'${strategy}'`).join(', ');
  return {
    rule: `!has(self.${field}) || self.strategy in [${names}]`,
    message: `"${field}" belongs to the strategy ${strategies.join(' or ')}: remove it, or change "strategy"`,
  };
}

/** A rule on each pair of neighbouring bounds: `before` and `b`. */
function neighbours(condition: string): string {
  return `!has(self.bounds) || self.bounds.all(i, b, i == 0 || (${condition.replaceAll('before', 'self.bounds[i - 1]')}))`;
}

const joined = 'has(b.from) && has(before.to)';

const fieldRules: readonly CelRule[] = [
  {
    rule: "self.strategy == 'reference' || has(self.key)",
    message: 'write "key": the column by which rows are distributed (a reference table alone has none)',
  },
  {
    rule: "self.strategy != 'reference' || (!has(self.key) && !has(self.group))",
    message: 'a reference table is whole on every shard: remove "key" and "group"',
  },
  onlyFor('buckets', 'hash', 'directory'),
  onlyFor('bounds', 'range'),
  onlyFor('defaultBucket', 'range'),
  onlyFor('regions', 'geographic'),
  onlyFor('hashKey', 'geographic'),
  onlyFor('tenants', 'directory'),
];

const boundRules: readonly CelRule[] = [
  {
    rule: '!has(self.defaultBucket) || has(self.bounds)',
    message: 'write "defaultBucket" on the table of the group that has "bounds"',
  },
  {
    rule: neighbours(joined),
    message: 'only the first of "bounds" may lack "from", and only the last may lack "to"',
  },
  {
    rule: neighbours(
      `!(${joined}) || (has(self.defaultBucket) && self.defaultBucket) || b.from == before.to`,
    ),
    message:
      'a gap or an overlap in "bounds": "from" of each range is "to" of the one before; ' +
      'or write "defaultBucket: true" for what lies between',
  },
  {
    rule: neighbours(`!(${joined}) || ${notAbove('before.to', 'b.from')}`),
    message: '"bounds" overlap: write them in ascending order, each from where the one before ends, or later',
  },
  {
    rule: `!has(self.bounds) || self.bounds.all(b, !has(b.from) || !has(b.to) || ${below('b.from', 'b.to')})`,
    message: 'a range of "bounds" is empty: "from" must be below "to", which does not belong to the range',
  },
];

const regionRules: readonly CelRule[] = [
  {
    rule: '!has(self.regions) || self.regions.all(r, self.name.size() + r.name.size() <= 60)',
    message:
      'the names of the table and of a region have more than 60 characters together; ' +
      'the partition <table>_r_<region> may have 63: shorten one of them',
  },
  {
    rule: '!has(self.regions) || has(self.hashKey) || self.regions.all(r, !has(r.buckets) || r.buckets == 1)',
    message:
      'a region of several "buckets" needs "hashKey": the column by which its rows are spread over them',
  },
];

/** What one entry of `spec.tables` alone can have wrong. */
export const tableRules: readonly CelRule[] = [...fieldRules, ...boundRules, ...regionRules];
