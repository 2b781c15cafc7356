import { z } from 'zod';
import { apiVersion, cel, conditions } from './common.ts';

const value = z.string().max(256);

const bucket = z.object({
  id: z.int().min(0).max(9999).describe('Number of the bucket; its leaves end in _b and four digits.'),
  shard: z.string().max(8).describe('Name of the owner, such as s0.'),
  epoch: z.int().min(1).describe('Epoch of the map at which the owner was set.'),
  hash: z
    .object({ modulus: z.int().min(1), remainder: z.int().min(0) })
    .optional()
    .describe('Bound of a hash bucket, or of the hash level below a region or a DEFAULT.'),
  range: z
    .object({ from: value.optional(), to: value.optional() })
    .optional()
    .describe('Bound of a range bucket; none: MINVALUE or MAXVALUE.'),
  region: z.string().max(40).optional().describe('Name of the region of a geographic bucket.'),
  values: z.array(value).max(64).optional().describe('LIST values of a region or of a tenant.'),
  isDefault: z.boolean().optional().describe('Whether this is (below) the DEFAULT partition.'),
  pending: z
    .object({ move: z.string().max(253), attempt: z.int().min(1) })
    .optional()
    .describe('The move that may change the owner now.'),
});

const bucketGroup = z.object({
  name: z.string().max(40),
  strategy: z.enum(['hash', 'range', 'geographic', 'directory']),
  buckets: z
    .array(bucket)
    .max(1024)
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['id'] }),
});

/** `ShardMap.spec`: which shard owns which bucket. */
export const shardMapSpec = z.object({
  cluster: z
    .string()
    .max(63)
    .describe('Name of the ShardedCluster.')
    .meta(cel({ rule: 'self == oldSelf', message: 'a map belongs to one cluster for good' })),
  epoch: z
    .int()
    .min(1)
    .describe('Raised by one with every change of an owner.')
    .meta(cel({ rule: 'self >= oldSelf', message: 'the epoch of a map never goes back' })),
  groups: z
    .array(bucketGroup)
    .max(100)
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
});

/** `ShardMap.status`. */
export const shardMapStatus = z.object({
  observedGeneration: z.int().optional(),
  conditions: conditions.optional(),
  summary: z.string().optional().describe('Buckets per shard, for people.'),
});

/** The whole object, as read from the API server. */
export const shardMap = z.object({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('ShardMap'),
  spec: shardMapSpec,
  status: shardMapStatus.optional(),
});

/** `spec` of a ShardMap. */
export type ShardMapSpec = z.output<typeof shardMapSpec>;
/** One colocation group of the map. */
export type BucketGroup = z.output<typeof bucketGroup>;
/** One bucket: its bound, its owner and the epoch at which it was set. */
export type Bucket = z.output<typeof bucket>;
