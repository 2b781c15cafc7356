import { z } from 'zod';
import { clusterRules, specRules } from './cluster-rules.ts';
import {
  apiVersion,
  atomicMap,
  cel,
  conditions,
  duration,
  identifier,
  imagePullSecrets,
  keyedBy,
  objectName,
  quantity,
  resources,
} from './common.ts';
import { conversion, conversionsStatus } from './conversion.ts';
import { groupRules } from './group-rules.ts';
import { bootstrap, importStatus } from './import.ts';
import { migration } from './migration.ts';
import { parameters } from './parameters.ts';
import { nodeSelector, tolerations } from './placement.ts';
import { loadStatus, rebalance, rebalanceStatus } from './rebalance.ts';
import { shardAutoscaling, shardAutoscalingStatus } from './shard-autoscaling.ts';
import { table } from './table.ts';

const postgres = z
  .object({
    version: z
      .int()
      .default(17)
      .describe('PostgreSQL major version. Only 17 is supported.')
      .meta(
        cel({
          rule: 'self == 17',
          message: 'only PostgreSQL 17 is supported: write "version: 17"',
        }),
      ),
    image: z
      .string()
      .max(512)
      .optional()
      .describe("Image of the members. Default: the operator's own setting."),
    database: identifier()
      .default('app')
      .describe('Name of the application database on every shard. Immutable.')
      .meta(
        cel(
          {
            rule: 'self == oldSelf',
            message: 'the database cannot be renamed: write the old name again, or make another cluster',
          },
          {
            rule: "!(self in ['postgres', 'template0', 'template1'])",
            message: 'this database is PostgreSQL\'s own: choose another name, such as "app"',
          },
          {
            rule: "self != 'pgbouncer'",
            message: 'poolers have their console under this name: choose another name, such as "app"',
          },
        ),
      ),
    tuning: z
      .enum(['auto', 'none'])
      .default('auto')
      .describe("auto sizes the server from the member's memory and CPU; parameters win over it."),
    parameters,
  })
  .describe('The PostgreSQL servers.');

const shards = z
  .object({
    count: z
      .int()
      .min(1)
      .max(128)
      .default(1)
      .describe(
        'Number of shards; the path of /scale. A new cluster has s0 to s(count - 1); with a lower count the emptiest ' +
          'shards go, never s0 nor one that tables name; status.shards.names says which there are.',
      ),
    autoscaling: shardAutoscaling.optional(),
    zones: z
      .array(z.string().min(1).max(63))
      .max(16)
      .default([])
      .describe(
        'Home zones, given to the shards in turn: the primary of shard i is kept in zones[i mod n] while it is well.',
      ),
  })
  .describe('The shards: each is an HA group of members.');

const storage = z
  .object({
    size: quantity.describe('Size of the volume of each member. It may grow, not shrink.').meta(
      cel({
        rule: 'quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0',
        message: 'a volume cannot shrink: write at least the present size',
      }),
    ),
    storageClassName: z
      .string()
      .max(253)
      .optional()
      .describe("StorageClass of the volumes. Default: the Kubernetes cluster's default class. Immutable."),
  })
  .describe('The volume of each member.')
  .meta(
    cel({
      rule:
        'has(self.storageClassName) == has(oldSelf.storageClassName) && ' +
        '(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)',
      fieldPath: '.storageClassName',
      message:
        'volumes cannot change their class: write the old storageClassName again (none, if there was none)',
    }),
  );

const placement = z
  .object({
    antiAffinity: z
      .enum(['preferred', 'required'])
      .default('preferred')
      .describe('Whether two members of a shard may share a node when there is no other room.'),
    nodeSelector,
    tolerations: tolerations.describe('Taints of nodes that members tolerate, as in a pod.'),
  })
  .describe('Where members run.');

const credentials = z
  .object({
    application: objectName
      .optional()
      .describe(
        'Name of a Secret with "username" and "password" for the application role. Default: one is made.',
      ),
    monitoring: objectName
      .optional()
      .describe(
        'Name of a Secret with "username" and "password" for the monitoring role. Default: one is made.',
      ),
  })
  .describe('Secrets that you bring. What you leave out is generated.');

const tls = z
  .object({
    required: z
      .boolean()
      .default(true)
      .describe('Whether clients must use TLS. Connections between members always do.'),
    certificateLifetime: duration
      .default('90d')
      .describe('Lifetime of a certificate. It is renewed after two thirds of it, without a restart.')
      .meta(
        cel({
          rule: "self.matches('^0*[1-9][0-9]*[hd]$')",
          message:
            'members get a renewed certificate within minutes, so it has to live for an hour or more: ' +
            'write hours or days, such as "24h" or "90d"',
        }),
      ),
  })
  .describe('Transport security. Every cluster has a CA of its own, made by the operator.');

/** `ShardedCluster.spec`. */
export const shardedClusterSpec = z
  .object({
    postgres: postgres.prefault({}),
    imagePullSecrets: imagePullSecrets
      .optional()
      .describe(
        'Secrets in the same namespace with which the image of the members is pulled, as in a pod. ReadReplicaSets and ' +
          'PoolerConfigs of the cluster use them too, unless they have their own. A change replaces the pods, one by one.',
      ),
    members: z
      .int()
      .min(1)
      .max(9)
      .default(3)
      .describe('Members (one primary and its standbys) of each shard.'),
    shards: shards.prefault({}),
    resources: resources.prefault({}),
    storage,
    durability: z
      .enum(['quorum', 'synchronous', 'asynchronous'])
      .default('quorum')
      .describe(
        'What a commit waits for: a quorum of standbys, one named standby, or the primary alone. ' +
          'quorum and synchronous need at least 3 members to keep accepting writes when one is away; with fewer, ' +
          'the operator uses asynchronous and says so.',
      ),
    placement: placement.prefault({}),
    credentials: credentials.prefault({}),
    tls: tls.prefault({}),
    schema: z
      .array(migration)
      .max(1000)
      .default([])
      .describe('Migrations, run in order, each once on every shard, in a transaction of its own.')
      .meta(keyedBy('name')),
    tables: z
      .array(table)
      .max(200)
      .default([])
      .describe('Tables that are distributed over the shards, and reference tables that are on all of them.')
      .meta({ ...keyedBy('name'), ...cel(...groupRules) }),
    bootstrap: bootstrap.optional(),
    conversion: conversion.prefault({}),
    rebalance: rebalance.prefault({}),
    suspend: z.boolean().default(false).describe('Whether the operator leaves the cluster as it is.'),
    holdPeriod: duration
      .default('7d')
      .describe(
        'How long volumes of removed members, shards and clusters are kept before deletionPolicy applies.',
      ),
    deletionPolicy: z
      .enum(['keep', 'delete'])
      .default('keep')
      .describe('keep never deletes a volume; delete deletes it after the hold period.'),
  })
  .describe('What the cluster shall be.')
  .meta(cel(...specRules));

const member = z.object({
  name: z.string().describe('Pod name.'),
  role: z.enum(['primary', 'standby', 'unknown']).describe('primary takes writes; standby follows it.'),
  state: z
    .string()
    .describe("Patroni's word for the member's state: running, streaming, starting, stopped, …"),
  ready: z.boolean().describe('Whether the pod is ready.'),
  zone: z.string().optional().describe('Zone of its node.'),
  node: z.string().optional().describe('Node it runs on.'),
  timeline: z.int().optional().describe("PostgreSQL's timeline: each failover and switchover raises it."),
  lagBytes: z.int().optional().describe('Bytes of WAL not yet replayed; 0 below 1 MiB.'),
  sync: z.boolean().optional().describe('Whether commits may be waiting for this member.'),
  pendingRestart: z
    .boolean()
    .optional()
    .describe('Whether a parameter takes effect only when the server restarts.'),
});

const shardStatus = z.object({
  name: z.string().describe('Name of the shard: s0, s1, …'),
  primary: z.string().optional().describe('Pod name of the primary.'),
  timeline: z.int().optional().describe('Timeline of the primary.'),
  ready: z.boolean().describe('Whether the shard takes reads and writes.'),
  readyMembers: z.int().describe('Number of ready members.'),
  members: z.array(member).describe('The members of the shard.'),
  sizeBytes: z.int().optional().describe('Size of the application database, to two significant digits.'),
  buckets: z
    .record(z.string(), z.int())
    .optional()
    .describe('Number of buckets owned, by colocation group.')
    .meta(atomicMap),
  schemaVersion: z.string().optional().describe('Name of the last migration applied.'),
  message: z.string().optional().describe('What the shard is waiting for.'),
});

/** `ShardedCluster.status`. */
export const shardedClusterStatus = z
  .object({
    observedGeneration: z
      .int()
      .optional()
      .describe('metadata.generation of the spec that this status was made from.'),
    conditions: conditions.optional(),
    phase: z
      .string()
      .optional()
      .describe('One word for people: Creating, Ready, Updating, Degraded, Suspended, …'),
    selector: z.string().optional().describe('Label selector of the members, for /scale.'),
    shards: z
      .object({
        desired: z.int().describe('Number of shards wanted.'),
        names: z
          .array(z.string().max(5))
          .max(128)
          .optional()
          .describe('Names of the shards wanted, by index; kept, so that a choice once made stays.'),
        leaving: z
          .array(
            z.object({
              name: z.string().describe('Name of the shard.'),
              why: z.string().describe('Why this one goes, and no other.'),
            }),
          )
          .optional()
          .describe('Shards that are emptied and taken away.'),
        current: z.int().describe('Number of shards that exist.'),
        ready: z.int().describe('Number of shards that take reads and writes.'),
        summary: z.string().describe('Ready of desired, for people.'),
        items: z.array(shardStatus).describe('Each shard with its members.'),
      })
      .optional()
      .describe('The shards.'),
    members: z
      .object({
        desired: z.int().describe('Number of members wanted, over all shards.'),
        ready: z.int().describe('Number of members that are ready.'),
        summary: z.string().describe('Ready of desired, for people.'),
      })
      .optional()
      .describe('The members of all shards together.'),
    map: z
      .object({
        epoch: z.int().describe('Epoch of the ShardMap.'),
        buckets: z.int().describe('Number of buckets in it.'),
      })
      .optional()
      .describe('The ShardMap that says which shard owns which bucket.'),
    laidOutTables: z
      .array(z.string().max(50))
      .max(200)
      .optional()
      .describe('Tables that lie on every shard, with their buckets; their layout can no longer change.'),
    primaries: z.string().optional().describe('Pod names of the primaries, for people.'),
    conversions: conversionsStatus.optional(),
    import: importStatus.optional(),
    rebalance: rebalanceStatus.optional(),
    load: loadStatus.optional(),
    autoscaling: shardAutoscalingStatus.optional(),
    lastGoodParameters: z
      .record(z.string(), z.string())
      .optional()
      .describe(
        'Parameters that every server accepted last; used while spec.postgres.parameters are refused.',
      )
      .meta(atomicMap),
    refusedParameters: z
      .object({
        hash: z.string().describe('Hash of the refused parameters.'),
        message: z.string().describe('What the server said.'),
      })
      .optional()
      .describe('The parameters that a server refused, by hash, and what it said.'),
  })
  .describe('What was observed.');

/** The whole object, as read from the API server. */
export const shardedCluster = z
  .object({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('ShardedCluster'),
    spec: shardedClusterSpec,
    status: shardedClusterStatus.optional(),
  })
  .describe(
    'PostgreSQL spread over shards. Each shard is a highly available group of one primary and its standbys; ' +
      'one shard without tables is a plain highly available cluster.',
  )
  .meta(cel(...clusterRules));

/** `spec` with its defaults filled in. */
export type ShardedClusterSpec = z.output<typeof shardedClusterSpec>;
/** `status`. */
export type ShardedClusterStatus = z.output<typeof shardedClusterStatus>;
/** State of one shard in the status. */
export type ShardStatus = z.output<typeof shardStatus>;
/** State of one member in the status. */
export type MemberStatus = z.output<typeof member>;
