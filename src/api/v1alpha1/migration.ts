import { z } from 'zod';
import { cel, duration, objectName } from './common.ts';

/** One entry of `spec.schema`: SQL that is run once on every shard, in order. */
export const migration = z
  .object({
    name: z
      .string()
      .min(1)
      .max(63)
      .regex(/^[a-z0-9]([-a-z0-9_.]*[a-z0-9])?$/)
      .describe('Unique name; the ledger herdsman.migrations is keyed by it.'),
    sql: z.string().min(1).max(65536).optional().describe('The SQL, inline.'),
    configMapKeyRef: z
      .object({
        name: objectName.describe('Name of the ConfigMap.'),
        key: z.string().min(1).max(253).describe('Key in it whose value is the SQL.'),
      })
      .optional()
      .describe('The SQL, in a key of a ConfigMap of the same namespace.'),
    lockTimeout: duration.optional().describe('lock_timeout of one attempt; it is tried again. Default 3s.'),
    statementTimeout: duration.optional().describe('statement_timeout of one attempt. Default 10m.'),
  })
  .describe(
    'SQL that is run once on every shard, in one transaction. Once applied it must stay as it is: add another.',
  )
  .meta(
    cel({
      rule: 'has(self.sql) != has(self.configMapKeyRef)',
      message: 'give the SQL either in "sql" or by "configMapKeyRef": one of them, not both',
    }),
  );
