import { databaseName } from './names.ts';

/** What PgBouncer and its clients take; with a longer one it reads no settings any more. */
export const longestDatabaseName = 63;

/** A database as clients find it, and where it leads. */
export interface PoolerDatabase {
  /** As clients write it: `app`, `app_s1`. */
  readonly name: string;
  readonly shard: string;
}

/**
 * The databases of a cluster with these shards. The plain name leads to the first shard however many there are: it is what
 * clients of one shard use, and they shall not be dropped when a second one comes. A shard that is the only one has a name of its
 * own as long as that is needed: it goes, when others have gone, once nobody uses it.
 */
export function databasesOf(
  database: string,
  role: 'rw' | 'ro',
  shards: readonly string[],
  isNeeded: (name: string) => boolean = () => false,
): PoolerDatabase[] {
  const [first] = shards;
  if (first === undefined) return [];
  const plain = { name: databaseName(database, undefined, role), shard: first };
  if (shards.length === 1 && !isNeeded(databaseName(database, first, role))) return [plain];
  return [plain, ...shards.map((shard) => ({ name: databaseName(database, shard, role), shard }))];
}
