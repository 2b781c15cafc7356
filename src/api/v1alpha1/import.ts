import { z } from 'zod';
import { cel, identifier, objectName, set } from './common.ts';

const tls = z
  .object({
    mode: z
      .enum(['disable', 'require', 'verify-full'])
      .default('require')
      .describe(
        'disable: no TLS. require: encrypted. verify-full: the certificate has to be of "caSecret" and of the host, and the ' +
          "shard's stream has to go to that same server (SCRAM channel binding, so the role needs a SCRAM password).",
      ),
    caSecret: objectName
      .optional()
      .describe('Name of a Secret whose key "ca.crt" has the authority of the server, in PEM.'),
  })
  .describe('Transport security of the connections to the server.')
  .meta(
    cel({
      rule: "(has(self.mode) && self.mode == 'verify-full') == has(self.caSecret)",
      message:
        'verify-full needs the authority: write "caSecret: <Secret with ca.crt>"; without it write "mode: require"',
    }),
  );

const source = z
  .object({
    host: z
      .string()
      .min(1)
      .max(253)
      .regex(/^[A-Za-z0-9.:_-]+$/)
      .describe(
        'Name or address of the server, as the pods of the cluster reach it; it may change to another of the same server.',
      ),
    port: z.int().min(1).max(65535).default(5432).describe('Port of the server.'),
    database: z
      .string()
      .min(1)
      .max(63)
      .describe('Database that is brought in. Immutable.')
      .meta(
        cel({
          rule: 'self == oldSelf',
          message:
            'an import under way cannot change its database: write the old one, or remove bootstrap and make another cluster',
        }),
      ),
    credentials: objectName.describe(
      'Name of a Secret with "username" and "password" of a role that may log in and replicate, owns the tables (or is a ' +
        'member of their owner) and may CREATE in the database.',
    ),
    tls: tls.prefault({}),
    tables: z
      .array(identifier(50))
      .min(1)
      .max(200)
      .optional()
      .describe('Tables of the schema public to bring in. Default: all of them. Immutable.')
      .meta(set),
    cutover: z
      .enum(['manual', 'auto'])
      .default('manual')
      .describe(
        'manual keeps the copies in step until you write auto. auto ends it as soon as they have caught up: the server takes no ' +
          'more writes of these tables, the rows are compared, and the cluster takes over.',
      ),
    verify: z
      .enum(['full', 'counts', 'none'])
      .default('full')
      .describe(
        'What is compared while neither side takes writes: every row, the number of rows, or nothing. full reads each table ' +
          'once on both sides, at some 100 MB/s.',
      ),
  })
  .describe(
    'Another PostgreSQL (10 or newer, wal_level logical) whose tables are copied and kept in step by logical replication until ' +
      'the cluster takes over. The schema is not brought in: spec.schema makes the tables, without PARTITION BY.',
  )
  .meta(
    cel({
      rule: 'has(self.tables) == has(oldSelf.tables) && (!has(self.tables) || self.tables == oldSelf.tables)',
      message:
        'an import under way cannot change its tables: write the old ones, or remove bootstrap and make another cluster',
    }),
  );

/** `spec.bootstrap`. */
export const bootstrap = z
  .object({ import: source })
  .describe(
    'Where the rows of a new cluster come from. Only a new cluster can have it; removing it before the cluster has taken over ' +
      'gives the import up, and after it changes nothing.',
  );

/** `spec.bootstrap.import`. */
export type ImportSpec = z.output<typeof source>;

/** `status.import`. */
export const importStatus = z
  .object({
    phase: z
      .enum([
        'waiting',
        'refused',
        'prepared',
        'copying',
        'following',
        'fenced',
        'verified',
        'switched',
        'done',
        'failed',
        'withdrawing',
      ])
      .describe(
        'waiting, refused, prepared, copying, following (in step), fenced (the server takes no writes), verified, switched (the ' +
          'cluster has taken over), done; failed when rows differed, withdrawing when it is given up.',
      ),
    source: z.string().describe('Server and database that rows come from.'),
    slot: z.string().describe('Name of the replication slot, publication and schema that are made there.'),
    tables: z.string().optional().describe('Tables that are in step, of all, such as 2/5.'),
    progress: z.string().optional().describe('Part of the bytes that is copied, such as 40 %.'),
    eta: z.string().optional().describe('When the copies will be there, at the present rate.'),
    lagBytes: z
      .int()
      .optional()
      .describe('WAL of the server that the cluster has not confirmed, in bytes; to two significant digits.'),
    fenceMs: z
      .int()
      .optional()
      .describe('How long neither side took writes, in ms: until the cluster took over.'),
    attempt: z.int().optional().describe('How often copying has begun.'),
    switchedAt: z.string().optional().describe('When the cluster took over.'),
    reason: z.string().optional().describe('One word for what it waits for.'),
    message: z.string().optional().describe('What it waits for, or what to do.'),
  })
  .describe('How far the import of another PostgreSQL is.');

/** `status.import`. */
export type ImportStatus = z.output<typeof importStatus>;
