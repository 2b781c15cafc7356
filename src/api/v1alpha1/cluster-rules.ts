import type { CelRule } from './common.ts';
import { defaultBuckets, firstOf, groupOf, groupsOf } from './group-rules.ts';

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

const chosen = 'self.status.shards.names';
/** Beyond the last shard that is there or comes with the present count. Which of those before it went, the plan tells. */
const end =
  `[self.spec.shards.count, has(self.status) && has(self.status.shards) && has(${chosen}) && ${chosen}.size() > 0 ` +
  `? int(${chosen}[${chosen}.size() - 1].substring(1)) + 1 : 0].max()`;

/** A rule on the shards that tables name; `condition` holds for the tables `t` when all are before `end`. */
function onNamedShards(condition: string, what: string): CelRule {
  return {
    rule: `[${end}].all(end, self.spec.tables.all(t, ${condition}))`,
    fieldPath: '.spec.tables',
    message:
      `${what} a shard that is not there: a new cluster has s0 to s(shards.count - 1), and status.shards.names ` +
      'lists those of one that was scaled; name one of them, or raise shards.count',
  };
}

const namedShardRules: readonly CelRule[] = [
  ...['bounds', 'tenants'].map((list) =>
    onNamedShards(
      `!has(t.${list}) || t.${list}.all(p, !has(p.shard) || int(p.shard.substring(1)) < end)`,
      `"shard" of one of "${list}" names`,
    ),
  ),
  onNamedShards(
    '!has(t.regions) || t.regions.all(r, !has(r.shards) || r.shards.all(s, int(s.substring(1)) < end))',
    'a region is pinned to',
  ),
];

/** What `spec` alone can have wrong across its fields. */
export const specRules: readonly CelRule[] = [
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
  {
    rule:
      '!has(self.shards.autoscaling) || self.shards.autoscaling.dryRun || ' +
      "(self.rebalance.mode == 'auto' && !self.rebalance.dryRun)",
    fieldPath: '.rebalance.mode',
    message:
      'autoscaling of shards fills and empties them by moving buckets: write "mode: auto" without dryRun, ' +
      'or "dryRun: true" in shards.autoscaling',
  },
];

const bootstrapRule: CelRule = {
  rule: '!has(self.spec.bootstrap) || has(oldSelf.spec.bootstrap)',
  fieldPath: '.spec.bootstrap',
  message:
    'only a new cluster can be filled by an import: remove bootstrap, and create another ShardedCluster with it',
};

const laid = 'self.status.laidOutTables';
const before = 'oldSelf.spec.tables';
const now = 'self.spec.tables';
const names = `${now}.map(t, t.name)`;

/** What a rule makes once and then searches: a list of all tables of the new spec, and one of the old. */
interface Lists {
  readonly list: string;
  readonly old?: string;
}

/** A rule on each table `o` of the old spec that lies on the shards already. */
function onceLaidOut({ list, old = '0' }: Lists, condition: string, message: string): CelRule {
  return {
    rule:
      '!has(self.status) || !has(self.status.laidOutTables) || ' +
      `[${list}].all(list, [${old}].all(old, ${before}.all(o, !(o.name in ${laid}) || (${condition}))))`,
    fieldPath: '.spec.tables',
    message,
  };
}

function isTrue(field: string): string {
  return `(has(${field}) && ${field})`;
}

function same(field: string, table: string): string {
  return `(has(o.${field}) ? o.${field} : '') == (has(${table}.${field}) ? ${table}.${field} : '')`;
}

/** A layout that `o` gave is still given by a table of its group, `t` of the condition. */
function keeps(field: string, condition: string, message: string): CelRule {
  const giver = firstOf(now, 'list', 'o');
  return onceLaidOut(
    { list: groupsOf(now, `has(t.${field})`) },
    `!has(o.${field}) || (${groupOf('o')} in list && (${condition.replaceAll(/\bt\./g, `${giver}.`)}))`,
    message,
  );
}

/** Buckets of the group of `o`, from a list of the groups whose tables say so. */
function bucketsOf(tables: string, groups: string): string {
  return `(${groupOf('o')} in ${groups} ? ${firstOf(tables, groups, 'o')}.buckets : ${defaultBuckets})`;
}

const named = `${now}[list.indexOf(o.name)]`;
const haveTenants = 'has(t.tenants) && t.tenants.size() > 0';

const laidOutRules: readonly CelRule[] = [
  onceLaidOut(
    { list: names },
    'o.name in list',
    'a table that is laid out on the shards cannot be left out, for its rows would be lost from sight: ' +
      'write its entry again',
  ),
  onceLaidOut(
    { list: names },
    `!(o.name in list) || (${named}.strategy == o.strategy && ${groupOf(named)} == ${groupOf('o')} && ` +
      `${same('key', named)} && ${same('hashKey', named)})`,
    '"strategy", "key", "hashKey" and "group" of a table that is laid out on the shards cannot change: ' +
      'write the old ones again; to distribute it otherwise, create another table and copy the rows',
  ),
  onceLaidOut(
    { list: groupsOf(now, 'has(t.buckets)'), old: groupsOf(before, 'has(t.buckets)') },
    `!(o.strategy in ['hash', 'directory']) || ${bucketsOf(now, 'list')} == ${bucketsOf(before, 'old')}`,
    `"buckets" of a group that is laid out on the shards cannot change (none means ${defaultBuckets}): ` +
      'write the old number again; load is evened out by moving buckets, not by their number',
  ),
  keeps(
    'bounds',
    `${isTrue('t.defaultBucket')} == ${isTrue('o.defaultBucket')} && ` +
      '(t.bounds == o.bounds || t.bounds.size() > o.bounds.size())',
    '"bounds" and "defaultBucket" of a group that is laid out on the shards cannot change: write the old ones again; ' +
      'ranges may be added',
  ),
  // Comparing the values of all regions of all tables is over the API server's budget: the plan does it.
  keeps(
    'regions',
    't.regions.size() >= o.regions.size()',
    '"regions" of a group that is laid out on the shards cannot be left out: write the old ones again; ' +
      'regions may be added',
  ),
  keeps(
    'tenants',
    't.tenants == o.tenants',
    '"tenants" of a group that is laid out on the shards cannot change: write the old ones again',
  ),
  onceLaidOut(
    { list: groupsOf(now, haveTenants), old: groupsOf(before, haveTenants) },
    `o.strategy != 'directory' || !(${groupOf('o')} in list) || ${groupOf('o')} in old`,
    'a group that is laid out on the shards without "tenants" cannot get some here: remove them',
  ),
];

/** What the whole ShardedCluster can have wrong: its name, and changes of what lies on the shards. */
export const clusterRules: readonly CelRule[] = [
  ...nameRules,
  bootstrapRule,
  ...namedShardRules,
  ...laidOutRules,
];
