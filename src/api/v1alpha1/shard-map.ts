import { z } from 'zod';
import { apiVersion, cel, conditions, keyedBy } from './common.ts';

const value = z.string().max(256);

const id = z.int().min(0).max(9999).describe('Number of the bucket; its leaves end in _b and four digits.');

/** What says which keys a bucket takes. */
const bound = {
  hash: z
    .object({
      modulus: z.int().min(1).describe('MODULUS of the hash partition.'),
      remainder: z.int().min(0).describe('REMAINDER of the hash partition.'),
    })
    .optional()
    .describe('Bound of a hash bucket, or of the hash level below a region or a DEFAULT.'),
  range: z
    .object({
      from: value.optional().describe('Lower bound, inclusive; none: MINVALUE.'),
      to: value.optional().describe('Upper bound, exclusive; none: MAXVALUE.'),
    })
    .optional()
    .describe('Bound of a range bucket.'),
  region: z.string().max(40).optional().describe('Name of the region of a geographic bucket.'),
  values: z.array(value).max(64).optional().describe('LIST values of a region or of a tenant.'),
  isDefault: z.boolean().optional().describe('Whether this is (below) the DEFAULT partition.'),
};

/** A bucket without its owner: what a ShardMove gives away or makes. */
export const bucketBound = z.object({ id, ...bound }).describe('A bucket and the keys that it takes.');

const bucket = z
  .object({
    id,
    shard: z.string().max(8).describe('Name of the owner, such as s0.'),
    epoch: z.int().min(1).describe('Epoch of the map at which the owner was set.'),
    ...bound,
    pending: z
      .object({
        move: z.string().max(262).describe('Name of the ShardMove, a dot, and the beginning of its uid.'),
        attempt: z.int().min(1).describe('Its attempt.'),
      })
      .optional()
      .describe('The move that may change the owner now.'),
  })
  .describe('One leaf of every table of the group; it lies on exactly one shard.')
  .meta(
    cel({
      rule: 'self.shard == oldSelf.shard || self.epoch > oldSelf.epoch',
      message:
        'a bucket that changes its owner takes the new epoch of the map: raise "epoch" of the map and of it',
    }),
  );

const bucketGroup = z
  .object({
    name: z.string().max(50).describe('Name of the colocation group.'),
    strategy: z
      .enum(['hash', 'range', 'geographic', 'directory'])
      .describe('How keys are spread over the buckets.')
      .meta(cel({ rule: 'self == oldSelf', message: 'a group keeps its strategy: write the old one again' })),
    buckets: z.array(bucket).max(1024).describe('The buckets of the group.').meta(keyedBy('id')),
    nextId: z
      .int()
      .min(0)
      .max(10_000)
      .optional()
      .describe('Number of the next bucket that a split, isolation or merge makes; none: never done.'),
  })
  .describe('The buckets that the tables of one colocation group share.')
  .meta(
    cel({
      rule: '!has(oldSelf.nextId) || (has(self.nextId) && self.nextId >= oldSelf.nextId && self.nextId - oldSelf.nextId <= 64)',
      fieldPath: '.nextId',
      message:
        'the number of a bucket is never given twice: write the old "nextId" again, or at most 64 more',
    }),
  );

/** `ShardMap.spec`: which shard owns which bucket. */
export const shardMapSpec = z
  .object({
    cluster: z
      .string()
      .max(63)
      .describe('Name of the ShardedCluster.')
      .meta(
        cel({
          rule: 'self == oldSelf',
          message: 'a map belongs to one cluster for good: write the old name again',
        }),
      ),
    epoch: z
      .int()
      .min(1)
      .max(1_000_000_000_000)
      .describe('Raised by one with every change of an owner.')
      .meta(
        cel(
          {
            rule: 'self >= oldSelf',
            message: 'the epoch of a map never goes back: read the map again and raise it by one',
          },
          {
            rule: 'self - oldSelf <= 1000000',
            message: 'the epoch of a map does not leap: read the map again and raise it by one',
          },
        ),
      ),
    groups: z.array(bucketGroup).max(100).describe('The colocation groups.').meta(keyedBy('name')),
  })
  .describe('Which shard owns which bucket. The operator alone writes it.')
  .meta(
    cel({
      rule: 'self.groups.all(g, g.buckets.all(b, b.epoch <= self.epoch))',
      fieldPath: '.epoch',
      message:
        'a bucket has a newer epoch than the map: raise "epoch" of the map to that of its newest bucket',
    }),
  );

/** `ShardMap.status`. */
export const shardMapStatus = z
  .object({
    observedGeneration: z
      .int()
      .optional()
      .describe('metadata.generation of the spec that this status was made from.'),
    conditions: conditions.optional(),
  })
  .describe('What was observed.');

/** The whole object, as read from the API server. */
export const shardMap = z
  .object({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('ShardMap'),
    spec: shardMapSpec,
    status: shardMapStatus.optional(),
  })
  .describe(
    'The single truth about which shard owns which bucket of a ShardedCluster; written by the operator.',
  );

/** `spec` of a ShardMap. */
export type ShardMapSpec = z.output<typeof shardMapSpec>;
/** One colocation group of the map. */
export type BucketGroup = z.output<typeof bucketGroup>;
/** One bucket without its owner: its number and its bound. */
export type BucketBound = z.output<typeof bucketBound>;
/** Which keys a bucket takes. */
export type Bound = Omit<BucketBound, 'id'>;
/** One bucket: its bound, its owner and the epoch at which it was set. */
export type Bucket = z.output<typeof bucket>;
