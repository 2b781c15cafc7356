import { z } from 'zod';
import { cel, identifier, keyedBy, set } from './common.ts';
import { tableRules } from './table-rules.ts';

const shardName = z
  .string()
  .max(4)
  .regex(/^s(0|[1-9][0-9]{0,2})$/);

const value = z.string().max(256);

/** Shorter than other values, so that comparing all bounds stays within the API server's budget for rules. */
const boundValue = z.string().max(36);

const bound = z
  .object({
    from: boundValue.optional().describe('Lower bound, inclusive, as PostgreSQL text; none: MINVALUE.'),
    to: boundValue.optional().describe('Upper bound, exclusive, as PostgreSQL text; none: MAXVALUE.'),
    shard: shardName.optional().describe('Shard on which this range starts; none: spread evenly.'),
  })
  .describe('A range of the key; it is one bucket.')
  .meta(cel({ rule: 'has(self.from) || has(self.to)', message: 'a range needs "from", "to" or both' }));

const region = z
  .object({
    name: identifier(40).describe('Name of the region; part of the names of its partitions.'),
    values: z
      .array(value)
      .min(1)
      .max(64)
      .describe('Key values that belong to the region (LIST partition).')
      .meta(set),
    shards: z
      .array(shardName)
      .min(1)
      .max(64)
      .optional()
      .describe('Shards that may hold the region, such as s0.')
      .meta(set),
    zones: z
      .array(z.string().min(1).max(63))
      .min(1)
      .max(16)
      .optional()
      .describe('Zones whose shards (spec.shards.zones) may hold the region.')
      .meta(set),
    buckets: z
      .int()
      .min(1)
      .max(64)
      .optional()
      .describe('Buckets inside the region, by HASH of hashKey. Needs hashKey when over 1. Default 1.'),
  })
  .describe('Key values that live together, on the shards or in the zones named here.')
  .meta(
    cel({
      rule: '!(has(self.shards) && has(self.zones))',
      message: 'pin a region by "shards" or by "zones", not by both',
    }),
  );

const tenant = z
  .object({
    value: value.describe('Key value of the tenant that has a bucket of its own.'),
    shard: shardName.optional().describe('Shard on which the tenant starts; none: spread evenly.'),
  })
  .describe('A tenant with a bucket of its own.');

/** One table of `spec.tables`: how it is distributed. */
export const table = z
  .object({
    name: identifier(50).describe('Name of the table in the application schema (public).'),
    strategy: z
      .enum(['hash', 'range', 'geographic', 'directory', 'reference'])
      .describe(
        'hash, range, geographic (LIST of regions) and directory (named tenants, HASH for the rest) spread the ' +
          'rows over shards; reference keeps the whole table on every shard, which a shard that joins is given; later its rows are written to ' +
          'every shard, by a migration or by whoever changes them.',
      ),
    key: identifier()
      .optional()
      .describe('Partition key column, part of the primary key; needed unless strategy is reference.'),
    group: identifier(50)
      .optional()
      .describe(
        'Colocation group: tables with one group share buckets, so that equal keys lie on one shard. ' +
          'Default: the name of the table.',
      ),
    buckets: z
      .int()
      .min(1)
      .max(1024)
      .optional()
      .describe(
        'Number of hash buckets (hash; directory: of the tenants without a bucket of their own). Default 64. ' +
          'One table of a group is enough to say it. Immutable once the table is laid out.',
      ),
    bounds: z
      .array(bound)
      .min(1)
      .max(200)
      .optional()
      .describe(
        'Ranges in ascending order (range only); one table of a group is enough. The first may lack "from", ' +
          'the last "to". Once the table is laid out, ranges can be added, but stay as they are.',
      ),
    defaultBucket: z
      .boolean()
      .optional()
      .describe('Whether a DEFAULT partition takes what no range takes (range only). Default false.'),
    regions: z
      .array(region)
      .min(1)
      .max(32)
      .optional()
      .describe(
        'Regions (geographic only); one table of a group is enough. Once the table is laid out, regions can be ' +
          'added, but their values and buckets stay.',
      )
      .meta(keyedBy('name')),
    hashKey: identifier()
      .optional()
      .describe('Column of the HASH level below a region (geographic only, for regions of several buckets).'),
    tenants: z
      .array(tenant)
      .max(256)
      .optional()
      .describe(
        'Tenants with a bucket of their own (directory only); one table of a group is enough. ' +
          'Immutable once the table is laid out.',
      )
      .meta(keyedBy('value')),
  })
  .describe('How one table is distributed over the shards. A migration of spec.schema creates it.')
  .meta(cel(...tableRules));

/** One entry of `spec.tables`. */
export type Table = z.output<typeof table>;
/** One range of a range-distributed group. */
export type Bound = z.output<typeof bound>;
/** One region of a geographic group. */
export type Region = z.output<typeof region>;
/** One tenant with a bucket of its own. */
export type Tenant = z.output<typeof tenant>;
