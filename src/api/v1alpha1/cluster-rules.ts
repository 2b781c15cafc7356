import type { CelRule } from './common.ts';
import { defaultBuckets, groupOf } from './group-rules.ts';

const nameRules: readonly CelRule[] = [
  {
    rule: 'self.metadata.name.size() <= 40',
    message:
      'the name of a ShardedCluster may have 40 characters: Services (<name>-s12-rw), pods and labels are named ' +
      'after it, and theirs may have 63; choose a shorter one',
  },
  {
    rule: "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    message:
      'Services are named after a ShardedCluster (<name>-s0-rw), so its name has lower-case letters, digits and "-" ' +
      'only, starts with a letter and ends with a letter or digit',
  },
];

function pinned(list: string, what: string): CelRule {
  return {
    rule:
      `self.tables.all(t, !has(t.${list}) || t.${list}.all(p, !has(p.shard) || ` +
      'int(p.shard.substring(1)) < self.shards.count))',
    fieldPath: '.tables',
    message: `"shard" of ${what} names a shard that is not there: shards are s0 to s(shards.count - 1); name one of them, or raise shards.count`,
  };
}

/** What `spec` alone can have wrong across its fields. */
export const specRules: readonly CelRule[] = [
  pinned('bounds', 'one of "bounds"'),
  pinned('tenants', 'one of "tenants"'),
  {
    rule:
      'self.tables.all(t, !has(t.regions) || t.regions.all(r, !has(r.shards) || ' +
      'r.shards.all(s, int(s.substring(1)) < self.shards.count)))',
    fieldPath: '.tables',
    message:
      'a region is pinned to a shard that is not there: shards are s0 to s(shards.count - 1); ' +
      'name one of them, or raise shards.count',
  },
  {
    rule:
      'self.tables.all(t, !has(t.regions) || t.regions.all(r, !has(r.zones) || ' +
      'r.zones.all(z, z in self.shards.zones)))',
    fieldPath: '.tables',
    message:
      'a region is pinned to a zone that no shard has: add the zone to shards.zones (shard i has zones[i]), ' +
      'or pin the region by "shards"',
  },
  {
    rule:
      'self.shards.zones.size() <= self.shards.count || ' +
      'self.tables.all(t, !has(t.regions) || t.regions.all(r, !has(r.zones)))',
    fieldPath: '.shards.count',
    message:
      'regions are pinned to zones, so each of shards.zones needs a shard: raise shards.count to the number of zones',
  },
];

const laid = 'self.status.laidOutTables';
const before = 'oldSelf.spec.tables';
const now = 'self.spec.tables';

/** A rule on each table `o` of the old spec that lies on the shards already. */
function onceLaidOut(condition: string, message: string): CelRule {
  return {
    rule:
      '!has(self.status) || !has(self.status.laidOutTables) || ' +
      `${before}.all(o, !(o.name in ${laid}) || (${condition}))`,
    fieldPath: '.spec.tables',
    message,
  };
}

const sameGroup = `${groupOf('t')} == ${groupOf('o')}`;

/** A layout that `o` gave is still given by a table `t` of its group, as it was or in a way that `condition` allows. */
function keeps(field: string, condition: string): string {
  return `!has(o.${field}) || ${now}.exists(t, ${sameGroup} && has(t.${field}) && (${condition}))`;
}

function isTrue(field: string): string {
  return `(has(${field}) && ${field})`;
}

function someTenants(tables: string): string {
  return `${tables}.exists(t, ${sameGroup} && has(t.tenants) && t.tenants.size() > 0)`;
}

function bucketsOf(tables: string): string {
  return (
    `(${tables}.filter(t, has(t.buckets) && ${sameGroup})` + `.map(t, t.buckets) + [${defaultBuckets}])[0]`
  );
}

function same(field: string): string {
  return `(has(o.${field}) ? o.${field} : '') == (has(t.${field}) ? t.${field} : '')`;
}

const laidOutRules: readonly CelRule[] = [
  onceLaidOut(
    `${now}.exists(t, t.name == o.name)`,
    'a table that is laid out on the shards cannot be left out, for its rows would be lost from sight: ' +
      'write its entry again',
  ),
  onceLaidOut(
    `${now}.all(t, t.name != o.name || ` +
      `(t.strategy == o.strategy && ${sameGroup} && ${same('key')} && ${same('hashKey')}))`,
    '"strategy", "key", "hashKey" and "group" of a table that is laid out on the shards cannot change: ' +
      'write the old ones again; to distribute it otherwise, create another table and copy the rows',
  ),
  onceLaidOut(
    `!(o.strategy in ['hash', 'directory']) || ${bucketsOf(now)} == ${bucketsOf(before)}`,
    `"buckets" of a group that is laid out on the shards cannot change (none means ${defaultBuckets}): ` +
      'write the old number again; load is evened out by moving buckets, not by their number',
  ),
  onceLaidOut(
    keeps(
      'bounds',
      `${isTrue('t.defaultBucket')} == ${isTrue('o.defaultBucket')} && ` +
        '(t.bounds == o.bounds || t.bounds.size() > o.bounds.size())',
    ),
    '"bounds" and "defaultBucket" of a group that is laid out on the shards cannot change: write the old ones again; ' +
      'ranges may be added',
  ),
  // Comparing the values of all regions of all pairs of tables is over the API server's budget: the plan does it.
  onceLaidOut(
    keeps('regions', 't.regions.size() >= o.regions.size()'),
    '"regions" of a group that is laid out on the shards cannot be left out: write the old ones again; ' +
      'regions may be added',
  ),
  onceLaidOut(
    keeps('tenants', 't.tenants == o.tenants'),
    '"tenants" of a group that is laid out on the shards cannot change: write the old ones again',
  ),
  onceLaidOut(
    `o.strategy != 'directory' || !${someTenants(now)} || ${someTenants(before)}`,
    'a group that is laid out on the shards without "tenants" cannot get some here: remove them',
  ),
];

/** What the whole ShardedCluster can have wrong: its name, and changes of what lies on the shards. */
export const clusterRules: readonly CelRule[] = [...nameRules, ...laidOutRules];
