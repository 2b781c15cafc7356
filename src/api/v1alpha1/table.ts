import { z } from 'zod';
import { cel, identifier } from './common.ts';

const shardName = z
  .string()
  .max(8)
  .regex(/^s[0-9]+$/);

const value = z.string().max(256);

const bound = z
  .object({
    from: value.optional().describe('Lower bound, inclusive, as PostgreSQL text; none: MINVALUE.'),
    to: value.optional().describe('Upper bound, exclusive, as PostgreSQL text; none: MAXVALUE.'),
    shard: shardName.optional().describe('Shard on which this range starts; none: spread evenly.'),
  })
  .meta(cel({ rule: 'has(self.from) || has(self.to)', message: 'a range needs "from", "to" or both' }));

const region = z
  .object({
    name: identifier(40).describe('Name of the region; part of the names of its partitions.'),
    values: z.array(value).min(1).max(64).describe('Key values that belong to the region (LIST partition).'),
    shards: z.array(shardName).min(1).max(64).optional().describe('Shards that may hold the region.'),
    zones: z
      .array(z.string().max(63))
      .min(1)
      .max(16)
      .optional()
      .describe('Zones whose shards (spec.shards.zones) may hold the region.'),
    buckets: z
      .int()
      .min(1)
      .max(64)
      .optional()
      .describe('Buckets inside the region, by HASH of hashKey. Needs hashKey when over 1. Default 1.'),
  })
  .meta(
    cel({
      rule: '!(has(self.shards) && has(self.zones))',
      message: 'pin a region by "shards" or by "zones", not by both',
    }),
  );

const tenant = z.object({
  value: value.describe('Key value of the tenant that has a bucket of its own.'),
  shard: shardName.optional().describe('Shard on which the tenant starts; none: spread evenly.'),
});

/** One table of `spec.tables`: how it is distributed. */
export const table = z
  .object({
    name: identifier(50).describe('Name of the table in the application schema (public).'),
    strategy: z
      .enum(['hash', 'range', 'geographic', 'directory', 'reference'])
      .describe(
        'hash, range, geographic (LIST of regions) and directory (named tenants, HASH for the rest) spread the ' +
          'rows over shards; reference keeps the whole table on every shard.',
      ),
    key: identifier().optional().describe('Partition key column; needed unless strategy is reference.'),
    group: identifier(40)
      .optional()
      .describe('Colocation group: tables with one group share buckets. Default: the name of the table.'),
    buckets: z
      .int()
      .min(1)
      .max(1024)
      .optional()
      .describe(
        'Number of hash buckets (hash; directory: of the tenants without a bucket of their own). Default 64. Immutable.',
      ),
    bounds: z.array(bound).min(1).max(256).optional().describe('Ranges in ascending order (range only).'),
    defaultBucket: z
      .boolean()
      .optional()
      .describe('Whether a DEFAULT partition takes what no range takes (range only). Default false.'),
    regions: z.array(region).min(1).max(64).optional().describe('Regions (geographic only).'),
    hashKey: identifier()
      .optional()
      .describe('Column of the HASH level below a region (geographic only, for regions of several buckets).'),
    tenants: z
      .array(tenant)
      .max(256)
      .optional()
      .describe('Tenants with a bucket of their own (directory only).'),
  })
  .meta(
    cel(
      {
        rule: "self.strategy == 'reference' ? !has(self.key) : has(self.key)",
        message: 'every strategy but reference needs "key"; a reference table has none',
      },
      {
        rule: "!has(self.buckets) || self.strategy in ['hash', 'directory']",
        message: '"buckets" belongs to the strategies hash and directory',
      },
      {
        rule: "!has(self.bounds) || self.strategy == 'range'",
        message: '"bounds" belongs to the strategy range',
      },
      {
        rule: "!has(self.defaultBucket) || self.strategy == 'range'",
        message: '"defaultBucket" belongs to the strategy range',
      },
      {
        rule: "!has(self.regions) || self.strategy == 'geographic'",
        message: '"regions" belongs to the strategy geographic',
      },
      {
        rule: "!has(self.hashKey) || self.strategy == 'geographic'",
        message: '"hashKey" belongs to the strategy geographic',
      },
      {
        rule: "!has(self.tenants) || self.strategy == 'directory'",
        message: '"tenants" belongs to the strategy directory',
      },
    ),
  );

/** One entry of `spec.tables`. */
export type Table = z.output<typeof table>;
/** One range of a range-distributed group. */
export type Bound = z.output<typeof bound>;
/** One region of a geographic group. */
export type Region = z.output<typeof region>;
/** One tenant with a bucket of its own. */
export type Tenant = z.output<typeof tenant>;
