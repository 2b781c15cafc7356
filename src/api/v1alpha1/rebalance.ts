import { z } from 'zod';
import { cel, duration, set } from './common.ts';

const timeOfDay = z
  .string()
  .max(5)
  .regex(/^([01][0-9]|2[0-3]):[0-5][0-9]$/);

/** When moves may start. */
export const moveWindow = z
  .object({
    start: timeOfDay.describe('When it opens, in UTC, such as 22:00.'),
    end: timeOfDay.describe(
      'When it closes, in UTC, such as 04:30; on the next day when that is not after start.',
    ),
    days: z
      .array(z.enum(['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']))
      .max(7)
      .optional()
      .describe('Days on which it opens. Default: all.')
      .meta(set),
  })
  .describe('When moves may start. Default: always. One that has started goes on to its end.');

/** `ShardedCluster.spec.rebalance`. */
export const rebalance = z
  .object({
    mode: z
      .enum(['auto', 'manual', 'off'])
      .default('auto')
      .describe(
        'auto moves buckets as planned; manual only plans, and you write the ShardMoves; off neither measures nor plans. ' +
          'With manual and off, ShardMoves of the rebalancer that have not begun are deleted.',
      ),
    strategy: z
      .enum(['byLoad', 'bySize', 'byCount'])
      .default('byLoad')
      .describe(
        'What is spread evenly over the shards: load (with size, and with size alone while the cluster idles), ' +
          'size, or the number of buckets.',
      ),
    interval: duration
      .default('30s')
      .describe('How often load is measured and the plan made. At least 5s.')
      .meta(
        cel({
          rule: "!self.endsWith('ms') && (!self.endsWith('s') || int(self.replace('s', '')) >= 5)",
          message:
            'measuring more often than every 5s costs more than it tells: write "interval: 5s" or more',
        }),
      ),
    window: moveWindow.optional(),
    threshold: z
      .int()
      .min(1)
      .max(1000)
      .default(10)
      .describe('How far a shard may be over or under its fair share before buckets move, in percent of it.'),
    improvementThreshold: z
      .int()
      .min(0)
      .max(100)
      .default(20)
      .describe(
        'Least gain of a move, in percent of what the bucket costs: by so much the fuller of both shards must get better.',
      ),
    maxConcurrent: z
      .int()
      .min(1)
      .max(16)
      .default(2)
      .describe('Moves at once; a shard takes part in one at a time.'),
    dryRun: z
      .boolean()
      .default(false)
      .describe(
        'Whether the plan is only shown in status.rebalance, and nothing is moved. ShardMoves that the rebalancer wrote before ' +
          'and that have not begun are deleted; those under way go on.',
      ),
  })
  .describe('How buckets are spread over the shards, by what is measured.');

const share = 'percent of the fair share';

/** `ShardedCluster.status.rebalance`. */
export const rebalanceStatus = z
  .object({
    phase: z
      .enum(['Balanced', 'Planned', 'Moving', 'Waiting', 'Stuck', 'Unknown'])
      .describe('What the rebalancer is doing.'),
    message: z.string().describe('Why, and what it waits for.'),
    shards: z
      .array(
        z.object({
          name: z.string().describe('Name of the shard.'),
          utilisation: z.int().describe(`What its buckets cost, in ${share}.`),
          utilisationAfter: z.int().describe(`The same after all moves, in ${share}.`),
          buckets: z.int().describe('Buckets that it owns.'),
          bucketsAfter: z.int().describe('Buckets that it owns after all moves.'),
          bytes: z.int().describe('Size of its buckets, to two significant digits.'),
          bytesAfter: z.int().describe('The same after all moves.'),
        }),
      )
      .describe('Each shard, now and after the plan.'),
    moves: z
      .array(
        z.object({
          group: z.string().describe('Colocation group.'),
          bucket: z.int().describe('Number of the bucket.'),
          from: z.string().describe('Shard that owns it.'),
          to: z.string().describe('Shard that gets it.'),
          bytes: z.int().describe('Size of the bucket, to two significant digits.'),
          reason: z
            .enum(['drain', 'not-allowed', 'balance'])
            .describe('drain: its shard goes; not-allowed: its region is elsewhere; balance: it helps.'),
        }),
      )
      .max(50)
      .describe('The next moves of the plan, in order; at most 50 are shown.'),
    totalMoves: z.int().describe('Moves of the whole plan, those under way not counted.'),
    runningMoves: z.int().describe('Moves under way.'),
    bytes: z.int().describe('Bytes that the plan moves, to two significant digits.'),
    etaSeconds: z
      .int()
      .optional()
      .describe(
        'Time that the plan takes at the rate of recent moves, or of 40 MiB/s before the first large one; to two significant digits.',
      ),
    stuck: z
      .array(z.string())
      .max(20)
      .describe('What should be moved, split or isolated and cannot, and why; at most 20 are shown.'),
  })
  .describe('What the rebalancer plans and does.');

/** `ShardedCluster.status.load`. */
export const loadStatus = z
  .object({
    shards: z
      .array(
        z.object({
          name: z.string().describe('Name of the shard.'),
          utilisation: z
            .int()
            .describe(
              'Part of its CPU limit that its primary uses, in percent, smoothed (from metrics.k8s.io; without a ' +
                'metrics server, the time in which sessions execute).',
            ),
          connections: z.int().describe('Sessions of clients, to two significant digits.'),
          transactionsPerSecond: z.int().describe('Transactions a second, to two significant digits.'),
        }),
      )
      .describe('Load of each shard.'),
    groups: z
      .array(
        z.object({
          group: z.string().describe('Colocation group.'),
          loads: z
            .string()
            .describe(
              'Smoothed load of its buckets as "bucket:load …", in reads + 4 · writes + 10 · blocks read a second; ' +
                'those without are left out.',
            ),
        }),
      )
      .describe('Load of each bucket; kept here so that a restart of the operator forgets nothing.'),
    hot: z
      .array(z.string())
      .max(20)
      .describe('Shards, buckets and tenants that are too hot, and what helps; at most 20 are shown.'),
  })
  .describe('What was measured.');

/** `status.rebalance`. */
export type RebalanceStatus = z.output<typeof rebalanceStatus>;
/** `status.load`. */
export type LoadStatus = z.output<typeof loadStatus>;
