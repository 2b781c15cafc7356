import { z } from 'zod';
import { cel, identifier, keyedBy, set } from './common.ts';
import { migration } from './migration.ts';

const table = z
  .object({
    name: identifier(50).describe('Name of the table in the application schema (public).'),
    columns: z
      .array(identifier())
      .min(1)
      .max(200)
      .optional()
      .describe(
        'Columns that are copied; the primary key must be among them. Others are NULL, or have their default. Default: all.',
      )
      .meta(set),
    where: z
      .string()
      .min(1)
      .max(1024)
      .optional()
      .describe(
        "Which rows are copied: what follows WHERE, such as region = 'eu'. PostgreSQL allows columns of the primary key " +
          '(of a reference table: of its replica identity) and immutable functions of its own. Default: all rows.',
      ),
  })
  .describe('A table that is copied, from all shards into one.');

const replacement = z
  .object({
    name: z.string().min(1).max(63).describe('Name of the migration in spec.schema of the cluster.'),
    sql: z.string().min(1).max(65536).describe('SQL that is run in the read model in its place.'),
  })
  .describe('Other SQL for a migration that the read model cannot apply as it is.');

/** `ReadReplicaSet.spec.logical`. */
export const logical = z
  .object({
    tables: z
      .array(table)
      .min(1)
      .max(100)
      .describe(
        'Tables that are copied. Each needs a primary key. A change copies anew, one member after the other.',
      )
      .meta(keyedBy('name')),
    schema: z
      .array(migration)
      .max(100)
      .default([])
      .describe(
        'Migrations that are run in the read model alone, in order, after those of the cluster that are applied by then: ' +
          'indexes, further columns, tables and views of its own.',
      )
      .meta(keyedBy('name')),
    replace: z
      .array(replacement)
      .max(100)
      .default([])
      .describe('What is run in place of migrations of the cluster that the read model cannot apply.')
      .meta(keyedBy('name')),
  })
  .describe('What a read model has: chosen tables of the cluster, and what is its own.');

/** Rules between `mode` and the other fields of `ReadReplicaSet.spec`. */
export const modeRules = [
  {
    rule: "self.mode == 'logical' || !has(self.logical)",
    fieldPath: '.logical',
    message: 'a physical set copies whole shards: remove "logical", or write "mode: logical" in a new set',
  },
  {
    rule: "self.mode != 'logical' || has(self.logical)",
    fieldPath: '.mode',
    message: 'a logical set copies tables: write them under "logical.tables"',
  },
  ...(
    [
      ['!has(self.shards)', '.shards', 'a read model gathers from every shard: remove "shards"'],
      ["self.source == 'primary'", '.source', 'a read model follows the primaries: remove "source"'],
      [
        "self.workload != 'delayed' && !has(self.applyDelay)",
        '.workload',
        'a read model is not delayed: remove "applyDelay", and choose the workload oltp or analytics',
      ],
      [
        "self.whenNoneFresh != 'primary'",
        '.whenNoneFresh',
        'no primary has what a read model has: write "keepFreshest" or "none"',
      ],
      [
        "self.distribution != 'weighted'",
        '.distribution',
        'a read model has no pooler that gives weights: write "roundRobin" or "nearest"',
      ],
      [
        '!has(self.autoscaling)',
        '.autoscaling',
        'a read model is scaled by "replicas", which a HorizontalPodAutoscaler can write: remove "autoscaling"',
      ],
      [
        '!has(self.maxCloneRate)',
        '.maxCloneRate',
        'the copy of a read model has no limit: remove "maxCloneRate"',
      ],
    ] as const
  ).map(([rule, fieldPath, message]) => ({
    rule: `self.mode != 'logical' || (${rule})`,
    fieldPath,
    message,
  })),
];

/** The mode of a set, which stays. */
export const mode = z
  .enum(['physical', 'logical'])
  .default('physical')
  .describe(
    'What members are: physical, whole copies of a shard; or logical, read models: servers of their own with chosen tables of ' +
      'all shards, and indexes or columns of their own. Immutable.',
  )
  .meta(
    cel({
      rule: 'self == oldSelf',
      message: 'a set stays what it is: write the old mode again, or make another set',
    }),
  );

const tableState = z.object({
  name: z.string().describe('Name of the table.'),
  state: z.enum(['Waiting', 'Copying', 'Streaming']).describe('Whether it is copied, and followed since.'),
});

const modelMember = z.object({
  name: z.string().describe('Pod name.'),
  state: z
    .enum(['Starting', 'Waiting', 'Migrating', 'Copying', 'Streaming', 'Failed'])
    .describe('What the member is doing.'),
  message: z.string().optional().describe('What it waits for, or what is amiss.'),
  migration: z.string().optional().describe("Last migration of the cluster's that it has applied."),
  tables: z.array(tableState).describe('Its tables.'),
  applyErrors: z
    .int()
    .optional()
    .describe('How often a worker that applies changes has failed, waiting at a migration included.'),
  syncErrors: z.int().optional().describe('How often the copy of a table has failed.'),
});

/** `ReadReplicaSet.status.model`. */
export const modelStatus = z
  .object({
    shards: z.array(z.string()).describe('Shards that every member follows.'),
    members: z.array(modelMember).describe('The members of the read model.'),
  })
  .describe('The read model of a logical set.');

/** State of a read model in the status. */
export type ModelStatus = z.output<typeof modelStatus>;
/** State of one member of a read model in the status. */
export type ModelMemberStatus = z.output<typeof modelMember>;
