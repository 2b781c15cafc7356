import { z } from 'zod';
import { type CelRule, cel, duration, keyedBy, objectName, quantity, set } from './common.ts';
import { pgpoolParameters } from './pgpool-parameters.ts';

const weight = z.int().min(0).max(100);

const readReplicaSet = z
  .object({
    name: objectName.max(30).describe('Name of a ReadReplicaSet of the same cluster.'),
    weight: weight
      .default(1)
      .describe('Share of the reads that each of its members in rotation gets; 0: none.'),
  })
  .describe('A ReadReplicaSet that is read.');

const queryCache = z
  .object({
    size: quantity
      .default('64Mi')
      .describe('Shared memory of each instance for results, 1Mi to 16Gi.')
      .meta(
        cel({
          rule: "quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('16Gi')) <= 0",
          message: 'a query cache has 1Mi to 16Gi: write a size in between, or remove queryCache',
        }),
      ),
    expire: duration
      .default('10s')
      .describe(
        'How old a result may be that is served. Only writes through the same instance remove results before that.',
      )
      .meta(
        cel({
          rule: "self.matches('^0*[1-9][0-9]*(s|m|h|d)$')",
          message:
            'results have to expire, since writes through other instances are not seen: write 1s or more, in whole seconds',
        }),
      ),
  })
  .describe('Serves repeated queries from memory. Results may be out of date by up to "expire".');

/** `PoolerConfig.spec.pgpool`. */
export const pgpool = z
  .object({
    shard: z
      .string()
      .max(8)
      .regex(/^s(0|[1-9][0-9]{0,3})$/)
      .optional()
      .describe(
        'Shard that the instances stand in front of, such as s0; each further shard needs a PoolerConfig of its own. ' +
          'Default: the only shard.',
      )
      .meta(
        cel({
          rule: 'self == oldSelf',
          message: 'instances keep their shard: write the old one again, or make another PoolerConfig',
        }),
      ),
    primaryWeight: weight
      .default(1)
      .describe(
        'Share of the reads that the primary gets; 0: only what must go there, and all when nobody else is left.',
      ),
    readReplicaSets: z
      .array(readReplicaSet)
      .min(1)
      .max(8)
      .describe('Where reads go beside the primary. Their members stream from the primary.')
      .meta(keyedBy('name')),
    maxLag: duration
      .default('10s')
      .describe(
        'Lag over which a member is not read, whatever its weight (delay_threshold_by_time); 0s: only spec.lag of its set counts.',
      ),
    disableLoadBalanceOnWrite: z
      .enum(['transaction', 'transTransaction', 'dmlAdaptive', 'always'])
      .default('transaction')
      .describe(
        'For how long reads go to the primary after a write: until the transaction ends; in all later transactions of the ' +
          'session; until the transaction ends, for the tables that were written; or until the session ends.',
      ),
    balance: z
      .enum(['session', 'statement'])
      .default('session')
      .describe('Whether a member is chosen once for a session, or anew for each statement.'),
    queryCache: queryCache.optional(),
    logins: z
      .array(objectName)
      .max(50)
      .default([])
      .describe(
        'Secrets (keys username and password) of roles that may log in, beside those of the application and of monitoring. ' +
          'Pgpool-II logs in to servers by itself, so it has to have their passwords; it gets them encrypted.',
      )
      .meta(set),
    parameters: pgpoolParameters,
  })
  .describe('Read/write splitting by Pgpool-II. It never promotes a server: that is left to Patroni.');

function onlyPgbouncer(name: string, absent: string, instead: string): CelRule {
  return {
    rule: `self.engine != 'pgpool' || ${absent}`,
    message: `remove "${name}", which engine "pgpool" does not have: ${instead}`,
    fieldPath: `.${name}`,
  };
}

const sessions = 'a client keeps its server connections for as long as it is connected';

/** What does not go together with an engine. */
export const engineRules: readonly CelRule[] = [
  {
    rule: "(self.engine == 'pgpool') == has(self.pgpool)",
    message: 'pgpool belongs to engine "pgpool": write both (with pgpool.readReplicaSets), or neither',
    fieldPath: '.engine',
  },
  {
    rule: "self.engine != 'pgpool' || self.target.role == 'rw'",
    message:
      'engine "pgpool" finds the reads by itself: write "role: rw", and name what is read in pgpool.readReplicaSets',
    fieldPath: '.target.role',
  },
  onlyPgbouncer('poolMode', "self.poolMode == 'transaction'", sessions),
  onlyPgbouncer('databases', 'self.databases.size() == 0', 'pools are not set by database'),
  onlyPgbouncer('users', 'self.users.size() == 0', 'pools are not set by user'),
  onlyPgbouncer('minPoolSize', 'self.minPoolSize == 0', sessions),
  onlyPgbouncer('reservePoolSize', 'self.reservePoolSize == 0', sessions),
  onlyPgbouncer('parameters', 'self.parameters.size() == 0', 'use pgpool.parameters'),
  onlyPgbouncer('autoscaling', '!has(self.autoscaling)', 'use a HorizontalPodAutoscaler on its /scale'),
  onlyPgbouncer('timeouts.query', "self.timeouts.query == '0s'", 'set statement_timeout on the server'),
  onlyPgbouncer(
    'timeouts.idleTransaction',
    "self.timeouts.idleTransaction == '0s'",
    'set idle_in_transaction_session_timeout on the server',
  ),
];
