import { z } from 'zod';
import {
  apiVersion,
  atomicMap,
  cel,
  conditions,
  duration,
  imagePullSecrets,
  keyedBy,
  objectName,
  resources,
} from './common.ts';
import { engineRules, pgpool } from './pgpool.ts';
import { nodeSelector, tolerations } from './placement.ts';
import { poolerParameters } from './pooler-parameters.ts';
import { poolerService } from './pooler-service.ts';

const poolMode = z.enum(['transaction', 'session', 'statement']);
const poolSize = z.int().min(1).max(10_000);

const target = z
  .object({
    cluster: objectName.max(40).describe('Name of the ShardedCluster, in the same namespace.'),
    role: z
      .enum(['rw', 'ro'])
      .default('rw')
      .describe('rw goes to the primary of each shard, ro to its standbys.'),
    readReplicaSet: objectName
      .max(40)
      .optional()
      .describe('Name of a ReadReplicaSet of that cluster, whose Services are read instead of the standbys.'),
  })
  .describe('What the poolers stand in front of.')
  .meta(
    cel(
      {
        rule: 'self == oldSelf',
        message: 'a PoolerConfig keeps its target: write the old one again, or make another PoolerConfig',
      },
      {
        rule: "!has(self.readReplicaSet) || self.role == 'ro'",
        message: 'a ReadReplicaSet is only read from: write "role: ro" beside readReplicaSet',
        fieldPath: '.role',
      },
    ),
  );

const database = z
  .object({
    name: z
      .string()
      .max(63)
      .regex(/^[a-z_][a-z0-9_]*$/)
      .describe('Name as clients write it: app, app_s1, app_ro, …'),
    poolMode: poolMode.optional().describe('Pool mode of this database. Default: spec.poolMode.'),
    poolSize: poolSize
      .optional()
      .describe('Server connections per user and instance for this database (pool_size).'),
  })
  .describe('Settings of one database.');

const user = z
  .object({
    name: z
      .string()
      .min(1)
      .max(63)
      .regex(/^[a-z_][a-z0-9_]*$/)
      .describe('Name of the role.'),
    poolMode: poolMode.optional().describe('Pool mode of this user. Default: that of the database.'),
    poolSize: poolSize
      .optional()
      .describe('Server connections per database and instance for this user (pool_size).'),
  })
  .describe('Settings of one user.');

const timeouts = z
  .object({
    queryWait: duration
      .default('120s')
      .describe(
        'How long a query may wait for a server connection before its client gets an error (query_wait_timeout); 0s: for ever. ' +
          'When a primary has been lost for a maxPause that is shorter, that takes its place in all databases of the instance ' +
          'until those who have waited so long have got theirs.',
      ),
    query: duration.default('0s').describe('How long a query may run (query_timeout); 0s: for ever.'),
    idleTransaction: duration
      .default('0s')
      .describe('How long a client may be idle in a transaction (idle_transaction_timeout); 0s: for ever.'),
    clientIdle: duration
      .default('0s')
      .describe('How long a client may be idle (client_idle_timeout); 0s: for ever.'),
    serverIdle: duration
      .default('10m')
      .describe('How long an unused server connection stays open (server_idle_timeout).'),
    serverLifetime: duration
      .default('1h')
      .describe(
        'How old a server connection may become before it is closed when nobody uses it (server_lifetime).',
      ),
  })
  .describe('Timeouts.');

const autoscaling = z
  .object({
    minReplicas: z.int().min(1).max(32).default(2).describe('Least number of instances.'),
    maxReplicas: z.int().min(1).max(32).describe('Most instances.'),
    cpuPercent: z
      .int()
      .min(10)
      .max(100)
      .default(70)
      .describe('Use of one core by an instance over which another is added: PgBouncer uses one core.'),
    waitingClients: z
      .int()
      .min(1)
      .default(50)
      .describe('Clients of an instance that wait for a server connection, over which another is added.'),
    maxWait: duration
      .default('1s')
      .describe('Longest wait of a client over which another instance is added.'),
    stabilization: duration
      .default('5m')
      .describe('How long fewer instances must have been enough before one is taken away.'),
    dryRun: z.boolean().default(false).describe('Whether the wish is only written to the status.'),
  })
  .describe('Scaling by load. spec.replicas is where it starts.')
  .meta(
    cel({
      rule: 'self.minReplicas <= self.maxReplicas',
      message: 'minReplicas is more than maxReplicas: lower the one or raise the other',
    }),
  );

const placement = z
  .object({
    nodeSelector,
    tolerations: tolerations.describe('Taints of nodes that instances tolerate, as in a pod.'),
  })
  .describe('Where instances run. They are spread over nodes and zones.');

/** `PoolerConfig.spec`. */
export const poolerConfigSpec = z
  .object({
    target,
    engine: z
      .enum(['pgbouncer', 'pgpool'])
      .default('pgbouncer')
      .describe(
        'pgbouncer shares few server connections among many clients; pgpool (Pgpool-II) sends each read to the primary or to ' +
          'a read replica, by weight and lag. With pgpool, maxPreparedStatements, maxPause, timeouts.queryWait and ' +
          'timeouts.serverLifetime have no effect, and poolSize is the number of clients that an instance serves at a time.',
      )
      .meta(
        cel({
          rule: 'self == oldSelf',
          message: 'a PoolerConfig keeps its engine: write the old one again, or make another PoolerConfig',
        }),
      ),
    pgpool: pgpool.optional(),
    replicas: z.int().min(1).max(32).default(2).describe('Number of instances; the path of /scale.'),
    image: z
      .string()
      .max(512)
      .optional()
      .describe("Image with PgBouncer and Pgpool-II. Default: the operator's own setting."),
    imagePullSecrets: imagePullSecrets
      .optional()
      .describe(
        'Secrets in the same namespace with which the image is pulled, as in a pod. Default: those of the ShardedCluster. ' +
          'A change replaces the pods, one by one.',
      ),
    poolMode: poolMode
      .default('transaction')
      .describe(
        'When a server connection goes back to the pool (pool_mode). LISTEN, temporary tables, SET and advisory locks of a session ' +
          'need "session".',
      ),
    maxClientConnections: z
      .int()
      .min(1)
      .max(50_000)
      .default(1000)
      .describe('Clients that one instance takes (max_client_conn).'),
    sizing: z
      .enum(['auto', 'manual'])
      .default('auto')
      .describe(
        "auto shares what each server's max_connections leaves over all instances and poolers; manual takes poolSize.",
      ),
    poolSize: poolSize
      .optional()
      .describe(
        'With sizing "manual": server connections per database, user and instance (default_pool_size).',
      ),
    minPoolSize: z
      .int()
      .min(0)
      .max(10_000)
      .default(0)
      .describe(
        'Server connections of each pool in use that are kept open though idle (min_pool_size); no more than the size of the pool.',
      ),
    reservePoolSize: z
      .int()
      .min(0)
      .max(10_000)
      .default(0)
      .describe(
        'Further server connections for clients that have waited for reserve_pool_timeout (spec.parameters; 5 seconds), ' +
          'counted in the sizes (reserve_pool_size).',
      ),
    reservedConnections: z
      .int()
      .min(0)
      .max(10_000)
      .default(10)
      .describe(
        'Connections of each server that poolers leave to the operator, to monitoring and to clients of its own Service.',
      ),
    maxPreparedStatements: z
      .int()
      .min(0)
      .max(10_000)
      .default(200)
      .describe(
        'Prepared statements kept on each server connection, so that they work in transaction mode (max_prepared_statements); 0: off.',
      ),
    serverResetQuery: z
      .string()
      .max(256)
      .regex(/^[^\p{Cc}]*$/u)
      .default('DISCARD ALL')
      .describe('What is run in session mode when a client leaves a server connection (server_reset_query).'),
    databases: z
      .array(database)
      .max(300)
      .default([])
      .describe('Settings that one database has for itself.')
      .meta(keyedBy('name')),
    users: z
      .array(user)
      .max(100)
      .default([])
      .describe('Settings that one user has for itself.')
      .meta(keyedBy('name')),
    timeouts: timeouts.prefault({}),
    parameters: poolerParameters,
    tls: z
      .object({ required: z.boolean().default(true).describe('Whether clients must use TLS.') })
      .prefault({})
      .describe('Transport security of clients. Connections to servers always use it, verified in full.'),
    service: poolerService.prefault({ type: 'ClusterIP' }),
    maxPause: duration
      .default('10s')
      .describe(
        'How long clients are made to wait at most while a primary changes on purpose, before which transactions have three ' +
          'tenths of it to end; 0s: never. When a primary is lost, clients wait too: who has waited so long, or asks after so ' +
          'long, gets an error until another one serves.',
      ),
    drainTimeout: duration
      .default('1m')
      .describe(
        'How long an instance that goes away waits for its clients to leave. Those that stay may finish their transaction for 10s more.',
      ),
    autoscaling: autoscaling.optional(),
    resources: resources.prefault({}).describe('CPU and memory of each instance.'),
    placement: placement.prefault({}),
    suspend: z.boolean().default(false).describe('Whether the operator leaves the poolers as they are.'),
  })
  .describe('What the poolers shall be.')
  .meta(
    cel(
      {
        rule: "(self.sizing == 'manual') == has(self.poolSize)",
        message: 'poolSize belongs to sizing "manual": write both, or neither',
        fieldPath: '.sizing',
      },
      {
        rule: '!has(self.poolSize) || self.minPoolSize <= self.poolSize',
        message: 'minPoolSize is more than poolSize: lower the one or raise the other',
        fieldPath: '.minPoolSize',
      },
      ...engineRules,
    ),
  );

const databaseStatus = z.object({
  name: z.string().describe('Name as clients write it.'),
  shard: z.string().describe('Shard it leads to.'),
  poolSize: z.int().describe('Server connections of each user and instance.'),
  maxConnections: z.int().describe('Server connections of each instance, over all users.'),
});

const backendStatus = z.object({
  name: z.string().describe('Service of the primary, or pod of the member.'),
  weight: z.int().describe('Weight that it has at present: 0 while it is out of rotation.'),
  instances: z.int().describe('Number of instances that use it.'),
  lagSeconds: z.int().describe('Lag that instances see, at most of all, in whole seconds.'),
  reads: z.int().describe('Reads that it was sent since the instances started, to two significant digits.'),
  reason: z.string().optional().describe('Why it is not read.'),
});

/** `PoolerConfig.status`. */
export const poolerConfigStatus = z
  .object({
    observedGeneration: z
      .int()
      .optional()
      .describe('metadata.generation of the spec that this status was made from.'),
    conditions: conditions.optional(),
    phase: z
      .string()
      .optional()
      .describe('One word for people: Creating, Ready, Updating, Degraded, Suspended.'),
    selector: z.string().optional().describe('Label selector of the instances, for /scale.'),
    service: z.string().optional().describe('Host name and port for clients.'),
    replicas: z
      .object({
        desired: z.int().describe('Number of instances wanted.'),
        current: z.int().describe('Number of instances that exist.'),
        ready: z.int().describe('Number of instances that take clients.'),
        updated: z.int().describe('Number of instances that run the present settings.'),
        summary: z.string().describe('Ready of desired, for people.'),
        reason: z.string().optional().describe('Why so many are wanted, when load decides.'),
        enoughSince: z
          .string()
          .meta({ format: 'date-time' })
          .optional()
          .describe('Since when fewer would have been enough.'),
      })
      .optional()
      .describe('The instances.'),
    databases: z.array(databaseStatus).optional().describe('The databases that clients find.'),
    sizing: z
      .object({
        total: z
          .int()
          .describe('Server connections that all instances together may open to one server at most.'),
        limit: z.int().describe('Server connections that are there for poolers on that server.'),
        message: z.string().describe('How the sizes come about.'),
      })
      .optional()
      .describe('How pools are sized; of the server with the least room.'),
    pools: z
      .object({
        clients: z.int().describe('Clients, to two significant digits.'),
        waiting: z.int().describe('Clients that wait for a server connection.'),
        servers: z.int().describe('Server connections, to two significant digits.'),
        maxWaitSeconds: z.int().describe('How long the client has waited that waits longest.'),
      })
      .optional()
      .describe('Use of the pools of all instances together.'),
    backends: z
      .array(backendStatus)
      .optional()
      .describe('The servers behind Pgpool-II, as SHOW POOL_NODES tells of them.'),
    primaries: z
      .record(z.string(), z.string())
      .optional()
      .describe(
        'Who serves each shard, as the poolers were last told: the primary with its timeline, or the members of a ReadReplicaSet.',
      )
      .meta(atomicMap),
  })
  .describe('What was observed.');

/** The whole object, as read from the API server. */
export const poolerConfig = z
  .object({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('PoolerConfig'),
    spec: poolerConfigSpec,
    status: poolerConfigStatus.optional(),
  })
  .describe(
    'A fleet of connection poolers in front of a ShardedCluster. PgBouncer: thousands of clients share tens of server ' +
      'connections, and wait instead of failing while a primary changes on purpose. Pgpool-II: reads are split from writes.',
  )
  .meta(
    cel(
      {
        rule: 'self.metadata.name.size() <= 40',
        message:
          'the name of a PoolerConfig may have 40 characters: its Service (<name>-pooler) and pods are named after it; ' +
          'choose a shorter one',
      },
      {
        rule: "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message:
          'a Service is named after a PoolerConfig (<name>-pooler), so its name has lower-case letters, digits and "-" ' +
          'only, starts with a letter and ends with a letter or digit',
      },
    ),
  );

/** `spec` with its defaults filled in. */
export type PoolerConfigSpec = z.output<typeof poolerConfigSpec>;
/** `status`. */
export type PoolerConfigStatus = z.output<typeof poolerConfigStatus>;
