import { z } from 'zod';

/** Labels of the nodes that pods may run on, as in a pod. */
export const nodeSelector = z
  .record(z.string().max(317), z.string().max(63))
  .default({})
  .describe('Labels that a node must have.')
  .meta({ maxProperties: 32 });

/** Taints that pods tolerate, as in a pod. */
export const tolerations = z
  .array(
    z.object({
      key: z.string().max(317).optional().describe('Key of the taint; none with Exists: all.'),
      operator: z.enum(['Exists', 'Equal']).optional().describe('How value is compared. Default Equal.'),
      value: z.string().max(63).optional().describe('Value of the taint.'),
      effect: z
        .enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute'])
        .optional()
        .describe('Effect of the taint; none: all.'),
      tolerationSeconds: z
        .int()
        .min(0)
        .optional()
        .describe('How long a NoExecute taint is tolerated, in seconds; none: for ever.'),
    }),
  )
  .max(32)
  .default([]);
