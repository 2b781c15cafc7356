import { z } from 'zod';
import { cel, duration, keyedBy, quantity } from './common.ts';

const metric = z
  .object({
    type: z
      .enum(['CPU', 'Connections', 'TPS', 'Size'])
      .describe(
        'CPU: percent of the CPU limit (from metrics.k8s.io; without a metrics server, the time in which sessions ' +
          'execute); Connections: sessions of clients; TPS: transactions a second; Size: bytes of the database, without what moves leave ' +
          'behind for a while.',
      ),
    target: quantity.describe('What one shard shall have at most, such as 60 for CPU or 200Gi for Size.'),
  })
  .describe('A measure of what one shard can carry.')
  .meta(
    cel(
      {
        rule: "quantity(string(self.target)).compareTo(quantity('0')) > 0",
        fieldPath: '.target',
        message: 'a target of 0 is always exceeded: write what one shard shall have at most',
      },
      {
        rule: "self.type != 'CPU' || quantity(string(self.target)).compareTo(quantity('100')) <= 0",
        fieldPath: '.target',
        message: 'a target for CPU is a percentage: write 1 to 100, such as 60',
      },
    ),
  );

function direction(stabilization: string, what: string) {
  return z
    .object({
      stabilization: duration.default(stabilization).describe(what),
    })
    .prefault({})
    .describe('How soon.');
}

/** `ShardedCluster.spec.shards.autoscaling`. */
export const shardAutoscaling = z
  .object({
    minShards: z.int().min(1).max(128).default(1).describe('Never fewer shards.'),
    maxShards: z.int().min(1).max(128).describe('Never more shards.'),
    metrics: z
      .array(metric)
      .min(1)
      .max(4)
      .describe('What the number of shards is judged by; the metric that is worst decides.')
      .meta(keyedBy('type')),
    behavior: z
      .object({
        scaleOut: direction(
          '5m',
          'How long a shard must be over a target, whatever is moved, before one is added.',
        ),
        scaleIn: direction(
          '1h',
          'How long one shard fewer must be enough before the emptiest is drained and taken away.',
        ),
      })
      .prefault({})
      .describe('How soon the number changes; it changes by one at a time.'),
    dryRun: z
      .boolean()
      .default(false)
      .describe(
        'Whether the decision is only shown in status.autoscaling: the number of shards stays what it is. Another count, ' +
          'as by kubectl scale, is followed, limits or not.',
      ),
  })
  .describe(
    'Lets the operator choose the number of shards. It starts from count, and from count again whenever that is changed.',
  )
  .meta(
    cel({
      rule: 'self.minShards <= self.maxShards',
      fieldPath: '.minShards',
      message: 'minShards is more than maxShards: lower it, or raise maxShards',
    }),
  );

/** `ShardedCluster.status.autoscaling`. */
export const shardAutoscalingStatus = z
  .object({
    base: z.int().describe('spec.shards.count that the decision started from.'),
    desired: z.int().describe('Number of shards that is acted on.'),
    recommended: z
      .int()
      .describe('Number of shards that the metrics ask for; another than desired in a dry run only.'),
    reason: z.string().describe('Why, in one word for programs.'),
    message: z.string().describe('Why, for people.'),
    metrics: z
      .array(
        z.object({
          type: z.string().describe('The metric.'),
          target: z.string().describe('What one shard shall have at most.'),
          peak: z.string().optional().describe('What the fullest shard has.'),
          peakAfter: z.string().optional().describe('What the fullest would have after the best plan.'),
          peakWithMore: z.string().optional().describe('What the fullest would have with one shard more.'),
          peakWithFewer: z.string().optional().describe('What the fullest would have with one shard fewer.'),
        }),
      )
      .describe('What the decision was made from.'),
    overSince: z
      .string()
      .optional()
      .meta({ format: 'date-time' })
      .describe('Since when a target is exceeded.'),
    quietSince: z
      .string()
      .optional()
      .meta({ format: 'date-time' })
      .describe('Since when one shard fewer would be enough.'),
    changedAt: z
      .string()
      .optional()
      .meta({ format: 'date-time' })
      .describe('When the number was changed last.'),
  })
  .describe('What the operator made of spec.shards.autoscaling.');

/** `spec.shards.autoscaling` with its defaults filled in. */
export type ShardAutoscalingSpec = z.output<typeof shardAutoscaling>;
/** `status.autoscaling`. */
export type ShardAutoscalingStatus = z.output<typeof shardAutoscalingStatus>;
