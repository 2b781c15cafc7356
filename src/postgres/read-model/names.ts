/** What the names of everything begin with that read models have in the databases of shards: publications, slots, roles. */
const prefix = 'hr_';

/** Names in a database have no hyphens; a set's name has no underscores, so that nothing is lost. */
function databaseName(set: string): string {
  return `${prefix}${set.replaceAll('-', '_')}`;
}

/** What a shard publishes for a set with a definition of its tables: `hr_reports_p1a2b3c4d`. */
export function publicationName(set: string, definition: string): string {
  return `${databaseName(set)}_p${definition}`;
}

/** Name of slot, role and application of one copy of a member: `hr_reports_m0_5e6f7a`. The subscriptions add the shard. */
export function copyName(set: string, ordinal: number, copy: string): string {
  return `${databaseName(set)}_m${ordinal}_${copy}`;
}

/** Name of a member's subscription to a shard: `hr_reports_m0_5e6f7a_s1`. */
export function subscriptionName(copy: string, shard: string): string {
  return `${copy}_${shard}`;
}

/** Shard of a subscription; `undefined` when it is not of a read model. */
export function shardOfSubscription(name: string): string | undefined {
  return name.startsWith(prefix) ? /_(s(?:0|[1-9][0-9]{0,3}))$/.exec(name)?.[1] : undefined;
}

/** What a name in a shard's database says: whose it is, and of which member and copy; `undefined`: not of a read model. */
export function parseName(name: string): { readonly set: string; readonly ordinal?: number } | undefined {
  const match = /^hr_([a-z0-9_]+)_(?:p[0-9a-f]{8}|m([0-9]{1,3})_[0-9a-f]{6})$/.exec(name);
  if (match === null) return undefined;
  const [, set = '', ordinal] = match;
  const found = { set: set.replaceAll('_', '-') };
  return ordinal === undefined ? found : { ...found, ordinal: Number(ordinal) };
}
