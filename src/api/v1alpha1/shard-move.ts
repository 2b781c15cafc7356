import { z } from 'zod';
import { apiVersion, cel, conditions, duration, identifier, set } from './common.ts';
import { moveWindow } from './rebalance.ts';
import { bucketBound } from './shard-map.ts';

const shardName = z
  .string()
  // Not the four that it has at most: "Too long" would not say how one looks.
  .max(63)
  .regex(/^s(0|[1-9][0-9]{0,2})$/);

function fixed(field: string) {
  return {
    rule: `has(self.${field}) == has(oldSelf.${field}) && (!has(self.${field}) || self.${field} == oldSelf.${field})`,
    fieldPath: `.${field}`,
    message: `"${field}" of a ShardMove cannot change: cancel it by "cancel: true", and make another one`,
  };
}

/** What each operation needs, and what belongs to another one. */
const operationRules = [
  {
    rule: "self.operation != 'move' || size(self.buckets) > 0",
    fieldPath: '.buckets',
    message: 'a move needs a bucket: write "buckets: [<its number in the ShardMap>]"',
  },
  {
    rule: "self.operation != 'split' || size(self.buckets) == 1",
    fieldPath: '.buckets',
    message: 'a split is of one bucket: write "buckets: [<its number in the ShardMap>]"',
  },
  {
    rule: "self.operation != 'merge' || size(self.buckets) > 1",
    fieldPath: '.buckets',
    message: 'a merge needs the siblings: write "buckets: [<number>, <number>]"',
  },
  {
    rule: "self.operation != 'isolate' || (has(self.tenant) && size(self.buckets) == 0)",
    fieldPath: '.tenant',
    message: 'to isolate a tenant write "tenant: <its key>", and leave "buckets" out: its bucket is found',
  },
  {
    rule: "self.operation == 'isolate' || !has(self.tenant)",
    fieldPath: '.tenant',
    message: 'only "operation: isolate" has a "tenant": write that, or leave the tenant out',
  },
  {
    rule: "self.operation == 'split' || !(has(self.parts) || has(self.at))",
    fieldPath: '.operation',
    message: 'only "operation: split" has "parts" or "at": write that, or leave them out',
  },
  {
    rule: '!has(self.parts) || self.parts in [2, 4, 8, 16, 32, 64]',
    fieldPath: '.parts',
    message: 'a hash bucket is split into a power of two: write 2, 4, 8, 16, 32 or 64',
  },
  {
    rule: "self.operation == 'move' || !has(self.reverseOf)",
    fieldPath: '.operation',
    message: 'only a move can be the reverse of one: write "operation: move", or leave "reverseOf" out',
  },
  {
    rule: '!(has(self.parts) && has(self.at))',
    fieldPath: '.at',
    message: 'write "parts" for a hash bucket, or "at" for a range, not both',
  },
];

/** `ShardMove.spec`. */
export const shardMoveSpec = z
  .object({
    cluster: z
      .string()
      .min(1)
      .max(40)
      .describe('Name of the ShardedCluster in the same namespace. Immutable.'),
    operation: z
      .enum(['move', 'split', 'merge', 'isolate'])
      .default('move')
      .describe(
        'move takes a bucket to another shard; split makes several of one, merge one of several, and isolate takes a ' +
          'tenant out of the default (directory only), all on the way to another shard. Immutable.',
      ),
    group: identifier(50).describe('Colocation group of the bucket. Immutable.'),
    buckets: z
      .array(z.int().min(0).max(9999))
      .max(64)
      .default([])
      .describe(
        'Numbers of the buckets, as in the ShardMap: those to be moved, which change their owner together; one to be split; ' +
          'two or more siblings to be merged; none to isolate a tenant. Immutable.',
      )
      .meta(set),
    tenant: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe('Key of the tenant that gets a bucket of its own (isolate). Immutable.'),
    parts: z
      .int()
      .min(2)
      .max(64)
      .optional()
      .describe(
        'Number of the buckets that a hash bucket is split into: a power of two. Default 2. Immutable.',
      ),
    at: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe('Key that a range is split at: the second part starts with it. None: the median. Immutable.'),
    from: shardName
      .optional()
      .describe('Shard that owns the bucket; the move is refused when another one does. Immutable.'),
    to: shardName.describe('Shard that shall own it, or what takes its place. Immutable.'),
    reverseOf: z
      .string()
      .min(1)
      .max(253)
      .optional()
      .describe(
        'Name of a ShardMove whose retention runs, and which this one takes back: with the same group and buckets, and its ' +
          'status.from as "to". Immutable.',
      ),
    window: moveWindow
      .optional()
      .describe(
        'When it may start, also again after an attempt that was rolled back. Default: always. That of the cluster is for ' +
          'what the rebalancer writes.',
      ),
    verify: z
      .enum(['full', 'counts', 'none'])
      .default('full')
      .describe('What is compared before the new shard takes over: all rows, their number, or nothing.'),
    cancel: z
      .boolean()
      .default(false)
      .describe(
        'Whether the move shall end without a trace; once the map has changed, it goes on to its end.',
      ),
    maxBytesPerSecond: z
      .int()
      .min(65_536)
      .optional()
      .describe(
        'Limit for the rate of the copy, in bytes a second, at least 65536. Default: as fast as both servers can. ' +
          'A longer copy keeps more WAL on the source: mind max_slot_wal_keep_size.',
      ),
    retention: duration
      .default('24h')
      .describe('How long the shard that the bucket came from keeps what it had.'),
  })
  .describe('Which bucket shall go where.')
  .meta(
    cel(
      ...['cluster', 'operation', 'group', 'buckets', 'tenant', 'parts', 'at', 'from', 'to', 'reverseOf'].map(
        fixed,
      ),
      ...operationRules,
      {
        rule: '!has(self.from) || self.from != self.to',
        fieldPath: '.to',
        message: '"to" is where the bucket is already ("from"): name another shard',
      },
    ),
  );

const ending = z.object({
  reason: z.string().describe('Why, in one word for programs.'),
  message: z.string().describe('Why, for people.'),
  next: z.enum(['switch', 'copy', 'failed', 'cancelled']).describe('What comes after it.'),
});

const moment = z.string().meta({ format: 'date-time' });

/** `ShardMove.status`. */
export const shardMoveStatus = z
  .object({
    observedGeneration: z
      .int()
      .optional()
      .describe('metadata.generation of the spec that this status was made from.'),
    conditions: conditions.optional(),
    phase: z
      .enum([
        'preflight',
        'prepare',
        'copy',
        'catch-up',
        'index',
        'verify',
        'announce',
        'switch',
        'finish',
        'retain',
        'done',
        'failed',
        'cancelled',
      ])
      .optional()
      .describe('Where the move is. From finish on, the new shard owns the bucket.'),
    message: z.string().optional().describe('What it does, or what it waits for and why.'),
    from: z.string().optional().describe('Shard that owned the bucket when the move began.'),
    parents: z
      .array(bucketBound)
      .max(64)
      .optional()
      .describe('The buckets that the old shard gives away, as they were when the move began.'),
    children: z
      .array(bucketBound)
      .max(64)
      .optional()
      .describe(
        'The buckets that the new shard gets: others than the parents after a split, isolation or merge.',
      ),
    phases: z
      .array(
        z.object({
          name: z.string().describe('Name of the phase.'),
          startedAt: moment.describe('When it began last.'),
        }),
      )
      .max(32)
      .optional()
      .describe('The phases so far.'),
    steps: z
      .array(
        z.object({
          name: z.string().describe('Name of the step.'),
          startedAt: moment.describe('When it began.'),
          tookMs: z.int().describe('What it took, in ms.'),
        }),
      )
      .max(16)
      .optional()
      .describe(
        'Steps of the switch that succeeded: writers of the bucket waited from the first to "commit-target".',
      ),
    attempt: z.int().optional().describe('Number of the switch; counts announcements in the ShardMap.'),
    copy: z.int().optional().describe('Number of the copy; part of the names of all that it made.'),
    failures: z.int().optional().describe('Attempts that were rolled back.'),
    fenceTries: z.int().optional().describe('Fences of this attempt that did not get their locks.'),
    timelines: z
      .object({
        source: z.int().describe('Timeline of the shard that the bucket comes from.'),
        target: z.int().describe('Timeline of the shard that it goes to.'),
      })
      .optional()
      .describe('Timelines of both primaries when the copy began.'),
    switchedAt: moment.optional().describe('When the switch began.'),
    notBefore: moment.optional().describe('Nothing is tried again before.'),
    finishedAt: moment
      .optional()
      .describe('When the bucket was on its new shard, or the move had ended otherwise.'),
    ending: ending.optional().describe('Why the attempt is being rolled back.'),
    lastEnding: ending.optional().describe('Why the last attempt that was rolled back was.'),
    bytes: z.int().optional().describe('Size of the bucket when its copy began.'),
    progress: z
      .object({
        copiedBytes: z.int().describe('Of the size on disk, without indexes, what is on the target.'),
        totalBytes: z.int().describe('Size of the leaves on disk when the copy began, without indexes.'),
        percent: z.int().describe('copiedBytes in percent of totalBytes.'),
        rows: z.int().describe('Rows on the target, of the parts that are whole.'),
        bytesPerSecond: z.int().describe('Rate of the copy since it began.'),
        etaSeconds: z
          .int()
          .optional()
          .describe(
            'Time that the rest of the copy takes at this rate; indexes and verification come after.',
          ),
      })
      .optional()
      .describe('How far the copy is, every 3 s. What is written meanwhile follows by the stream: lagBytes.'),
    lagBytes: z
      .int()
      .optional()
      .describe('WAL of the source that the target has not confirmed, while the stream goes on.'),
    verification: z
      .object({
        compared: z
          .enum(['full', 'counts', 'none'])
          .describe('What was compared: all rows, their number, or nothing.'),
        rows: z.int().describe('Rows that both shards had at the common point.'),
        tookMs: z.int().describe('How long reading both took.'),
      })
      .optional()
      .describe('How the last comparison ended well. One that did not is in lastEnding.'),
    fenceMs: z
      .int()
      .optional()
      .describe('Time from the fence to the commit, in which the bucket took no writes.'),
  })
  .describe('What was done and observed.');

/** The whole object, as read from the API server. */
export const shardMove = z
  .object({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('ShardMove'),
    spec: shardMoveSpec,
    status: shardMoveStatus.optional(),
  })
  .describe(
    'A bucket on its way from shard to shard, whole or split, or several that become one, while reads and writes go on. ' +
      'Written by the rebalancer, or by you.',
  );

/** `spec` with its defaults filled in. */
export type ShardMoveSpec = z.output<typeof shardMoveSpec>;
/** `status`. */
export type ShardMoveStatus = z.output<typeof shardMoveStatus>;
