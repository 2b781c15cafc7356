import { z } from 'zod';
import { duration } from './common.ts';

/** How plain tables become distributed ones. */
export const conversion = z
  .object({
    retention: duration
      .default('24h')
      .describe(
        'How long after the switch a conversion can be taken back, by taking the tables out of spec.tables again. Until then ' +
          'the plain tables are kept in step, and the buckets stay on their shard. 0s: not at all.',
      ),
  })
  .describe(
    'Plain tables with rows that are added to spec.tables are converted while they are used: copied into partitions on their ' +
      'shard, and switched in a moment.',
  );

/** One conversion in the status. */
const conversionStatus = z.object({
  group: z.string().describe('Colocation group whose tables are converted.'),
  shard: z.string().optional().describe('Shard that has the rows.'),
  phase: z
    .string()
    .describe(
      'refused, waiting, staged, copying, copied, built, verified; after the switch: switched, owned, settled; reverted.',
    ),
  progress: z.string().optional().describe('Part of the blocks that is copied, such as 40 %.'),
  fenceMs: z
    .int()
    .optional()
    .describe('How long the tables could not be used when they were switched, in ms.'),
  switchedAt: z.string().optional().describe('When the partitioned tables took over.'),
  reversibleUntil: z.string().optional().describe('Until when it can be taken back.'),
  reason: z.string().optional().describe('One word for what it waits for.'),
  message: z.string().optional().describe('What it waits for, or what to write instead.'),
});

/** `status.conversions`. */
export const conversionsStatus = z
  .array(conversionStatus)
  .max(100)
  .describe('Conversions of plain tables that are under way, refused, or can still be taken back.');

/** One conversion in the status. */
export type ConversionStatus = z.output<typeof conversionStatus>;
