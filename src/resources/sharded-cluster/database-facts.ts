import type { Holdings } from '../../postgres/holdings.ts';
import type { ShardStats } from '../../postgres/stats.ts';
import type { Problem } from '../../sharding/problem.ts';
import type { ShardCatalog } from '../../sharding/shard-catalog.ts';

/** What the primary of a shard says. */
export interface DatabaseFacts extends Holdings {
  /** Pod name of the member that answered. */
  readonly member: string;
  /** Whether roles, the database and Herdsman's schemas are as they shall be. */
  readonly isSetUp: boolean;
  /** The application database; `undefined` before it is set up, and while somebody holds tables so that they cannot be looked at. */
  readonly catalog: ShardCatalog | undefined;
  /** What is wrong with bounds and values of groups that have no buckets yet, as only PostgreSQL knows. */
  readonly boundProblems: readonly Problem[];
  readonly stats: ShardStats;
  /** What the running server has against parameters of the spec. */
  readonly parameterProblems: readonly Problem[];
  /** Whether the running server has taken over those of them that it reads when it starts. */
  readonly runsWithParameters: boolean;
  /** Errors in the configuration that the server was given. */
  readonly fileErrors: readonly string[];
}
