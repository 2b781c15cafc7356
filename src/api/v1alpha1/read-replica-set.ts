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
  quantity,
  resources,
  set,
} from './common.ts';
import { logical, mode, modelStatus, modeRules } from './read-model.ts';
import { replicaParameters, sharedParameters } from './replica-parameters.ts';

/** Most members that one set can have in a shard; rights of members are listed by pod name up to here. */
export const maxReplicas = 32;

const lag = z
  .object({
    maxBytes: quantity
      .optional()
      .describe('Bytes of WAL that a member may be behind, such as 16Mi. Default: by workload.')
      .meta(
        cel({
          rule: "quantity(string(self)).compareTo(quantity('8Ki')) >= 0",
          message:
            'a limit below 8Ki, the page that WAL is written by, would keep every member out: write more, or leave it out',
        }),
      ),
    maxSeconds: z
      .int()
      .min(1)
      .max(86_400)
      .optional()
      .describe('Seconds that what a member shows may be old. Default: by workload. Beyond applyDelay.'),
  })
  .describe(
    'A member leaves the Service at either limit, and comes back when it is under half of both. ' +
      'Seconds are measured on the WAL of the primary, so an idle primary makes nobody late.',
  );

const autoscalingMetric = z
  .object({
    type: z
      .enum(['Connections', 'ActiveSessions', 'CPU', 'QPS', 'Latency', 'Lag'])
      .describe(
        'What is measured, per member: Connections and ActiveSessions of clients; CPU in percent of the request (from ' +
          'metrics.k8s.io); QPS, transactions a second; Latency, mean milliseconds of work of a transaction; Lag in seconds.',
      ),
    target: z.int().min(1).max(1_000_000_000).describe('What a member shall have of it on average.'),
  })
  .describe('One measure of load.');

const behavior = z
  .object({
    scaleUpWindow: duration
      .default('300s')
      .describe('At most one member more, and no change of direction, within it.'),
    scaleDownWindow: duration.default('600s').describe('At most one member less within it.'),
    quietBeforeScaleDown: duration
      .default('1800s')
      .describe('How long fewer members must have been enough before one is taken away.'),
  })
  .describe('How fast the number changes.');

const autoscaling = z
  .object({
    minReplicas: z.int().min(1).max(maxReplicas).default(1).describe('Least members per shard.'),
    maxReplicas: z.int().min(1).max(maxReplicas).describe('Most members per shard.'),
    metrics: z
      .array(autoscalingMetric)
      .min(1)
      .max(6)
      .describe('What is looked at; the metric that asks for the most members counts.')
      .meta(keyedBy('type')),
    behavior: behavior.prefault({}),
    dryRun: z
      .boolean()
      .default(false)
      .describe(
        'Whether decisions are only shown, in the status and by an event when one changes. Members that are there stay ' +
          'meanwhile, and spec.replicas can add to them, but takes none away.',
      ),
  })
  .describe(
    'Scales the set on load. It starts from the members that are there, or from spec.replicas if there are fewer, which has no ' +
      'effect from then on, but for a dry run.',
  )
  .meta(
    cel({
      rule: '!has(self.minReplicas) || self.minReplicas <= self.maxReplicas',
      fieldPath: '.minReplicas',
      message: 'minReplicas is more than maxReplicas: lower minReplicas or raise maxReplicas',
    }),
  );

const storage = z
  .object({
    size: quantity
      .describe(
        'Size of the volume of each member; it holds a whole copy of the shard. It may grow, not shrink.',
      )
      .meta(
        cel({
          rule: 'quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0',
          message: 'a volume cannot shrink: write at least the present size',
        }),
      ),
    storageClassName: z
      .string()
      .max(253)
      .optional()
      .describe("StorageClass of the volumes. Default: that of the cluster's members. Immutable."),
  })
  .describe('The volume of each member.')
  .meta(
    cel({
      rule:
        'has(self.storageClassName) == has(oldSelf.storageClassName) && ' +
        '(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)',
      fieldPath: '.storageClassName',
      message:
        'volumes cannot change their class: write the old storageClassName again (none, if there was none)',
    }),
  );

/** `ReadReplicaSet.spec`. */
export const readReplicaSetSpec = z
  .object({
    cluster: objectName
      .max(40)
      .describe('Name of the ShardedCluster, in the same namespace. Immutable.')
      .meta(
        cel({
          rule: 'self == oldSelf',
          message: 'a set belongs to one cluster for good: write the old name again, or make another set',
        }),
      ),
    mode,
    logical: logical.optional(),
    shards: z
      .array(
        z
          .string()
          .max(8)
          .regex(/^s(0|[1-9][0-9]{0,3})$/)
          .describe('Name of a shard, such as s0.'),
      )
      .min(1)
      .max(128)
      .optional()
      .describe('Shards that get members. Default: all, also those that are added later.')
      .meta(set),
    replicas: z
      .int()
      .min(0)
      .max(maxReplicas)
      .default(1)
      .describe(
        'Members per shard, while there is no autoscaling; the path of /scale. The operator never writes it.',
      ),
    source: z
      .enum(['primary', 'standby', 'cascade'])
      .default('primary')
      .describe(
        'What members stream from: the primary; a standby of the shard; or, with cascade, the first member of the set in ' +
          'the shard, which alone streams from the primary. Without its source a member follows the primary.',
      ),
    workload: z
      .enum(['oltp', 'analytics', 'delayed'])
      .default('oltp')
      .describe(
        'What the set is for: oltp has strict lag limits, analytics lets queries run long, delayed shows the past. ' +
          'The settings that follow from it are in status.effective; every one can be overridden.',
      ),
    applyDelay: duration
      .optional()
      .describe(
        'How far behind the members are kept, against human error. Default: 1h when delayed, else none.',
      ),
    lag: lag.prefault({}),
    whenNoneFresh: z
      .enum(['keepFreshest', 'primary', 'none'])
      .default('keepFreshest')
      .describe(
        'What the Service has when every member is late: the least late member, the primary of the shard, or nobody.',
      ),
    distribution: z
      .enum(['roundRobin', 'nearest', 'weighted'])
      .default('roundRobin')
      .describe(
        "How connections are spread: in turn; to the client's own zone while a member is there; or by weights, " +
          'which a PoolerConfig with engine "pgpool" gives to those that connect through it.',
      ),
    autoscaling: autoscaling.optional(),
    imagePullSecrets: imagePullSecrets
      .optional()
      .describe(
        'Secrets in the same namespace with which the image of the members is pulled, as in a pod. Default: those of the ' +
          "cluster's members. A change replaces the pods, one by one.",
      ),
    resources: resources
      .optional()
      .describe("CPU and memory of each member. Default: those of the cluster's members."),
    storage: storage
      .optional()
      .describe("The volume of each member. Default: as the cluster's members have it."),
    parameters: replicaParameters,
    maxConcurrentClones: z
      .int()
      .min(1)
      .max(16)
      .default(1)
      .describe('Most members, over all shards, that are copied at the same time.'),
    maxCloneRate: quantity
      .optional()
      .describe('Most bytes a second that a copy takes from its source, 32Ki to 1Gi. Default: no limit.')
      .meta(
        cel({
          rule: "quantity(string(self)).compareTo(quantity('32Ki')) >= 0 && quantity(string(self)).compareTo(quantity('1Gi')) <= 0",
          message:
            'a copy can be limited to between 32Ki and 1Gi a second: write a rate in between, or leave it out',
        }),
      ),
    drainGrace: duration
      .default('30s')
      .describe('How long queries may go on in a member that is about to be stopped, once no new ones come.'),
    holdPeriod: duration
      .default('7d')
      .describe(
        'How long the volumes of members that were taken away, and of deleted sets, are kept before deletionPolicy applies.',
      ),
    deletionPolicy: z
      .enum(['keep', 'delete'])
      .default('keep')
      .describe(
        'keep never deletes a volume; delete deletes it after the hold period. A volume is only a copy of its shard, and ' +
          'a member that comes back goes on with it.',
      ),
    suspend: z.boolean().default(false).describe('Whether the operator leaves the set as it is.'),
  })
  .describe('What the set shall be.')
  .meta(
    cel(
      {
        rule: "self.workload != 'delayed' || !has(self.autoscaling)",
        fieldPath: '.autoscaling',
        message: 'a delayed set is not there for load: remove "autoscaling", or choose another workload',
      },
      {
        rule: `self.mode == 'logical' || !has(self.parameters) || !self.parameters.exists(k, k in ${JSON.stringify(sharedParameters).replaceAll('"', "'")})`,
        fieldPath: '.parameters',
        message: `members have these as their primary has them, so write them in spec.postgres.parameters of the ShardedCluster: ${sharedParameters.join(', ')}`,
      },
      ...modeRules,
    ),
  );

const member = z.object({
  name: z.string().describe('Pod name.'),
  ready: z.boolean().describe('Whether the pod is ready.'),
  rotation: z.enum(['in', 'out', 'draining']).describe('Whether the Service leads to it.'),
  reason: z.string().optional().describe('Why it is not in the Service.'),
  node: z.string().optional().describe('Node it runs on.'),
});

const shardStatus = z.object({
  name: z.string().describe('Name of the shard; model: the read model of a logical set.'),
  service: z.string().describe('Service through which the members in rotation are read.'),
  servedBy: z
    .enum(['members', 'freshest', 'primary', 'nobody'])
    .describe('Whom the Service leads to: members in rotation, the least late one, the primary, or nobody.'),
  members: z.array(member).describe('The members of the set in the shard.'),
  message: z.string().optional().describe('What the shard is waiting for.'),
});

const metricStatus = z.object({
  type: z.string().describe('Type of the metric.'),
  measured: z
    .number()
    .optional()
    .describe('Average per member, to two significant digits; none when unknown.'),
  target: z.number().describe('What was asked for.'),
  proposed: z.int().optional().describe('Members per shard that this metric asks for.'),
  message: z.string().optional().describe('Why it is not known.'),
});

/** `ReadReplicaSet.status`. */
export const readReplicaSetStatus = z
  .object({
    observedGeneration: z
      .int()
      .optional()
      .describe('metadata.generation of the spec that this status was made from.'),
    conditions: conditions.optional(),
    phase: z
      .string()
      .optional()
      .describe('One word for people: Creating, Ready, Scaling, Degraded, Suspended, …'),
    selector: z
      .string()
      .optional()
      .describe(
        'Label selector for /scale: the members in the first shard of the set, since replicas are counted per shard. A ' +
          'HorizontalPodAutoscaler sees their load alone; spec.autoscaling goes by the busiest shard.',
      ),
    replicas: z
      .object({
        desired: z.int().describe('Members wanted per shard.'),
        current: z.int().describe('Members per shard that exist: the least of all shards.'),
        ready: z.int().describe('Ready members over all shards.'),
        inRotation: z.int().describe('Members over all shards that the Services lead to.'),
        total: z.int().describe('Members wanted over all shards.'),
        summary: z.string().describe('In rotation of wanted, over all shards, for people.'),
      })
      .optional()
      .describe('Numbers of members.'),
    shards: z.array(shardStatus).optional().describe('The set in each shard.'),
    model: modelStatus.optional(),
    effective: z
      .object({
        maxLagBytes: z.int().describe('Limit of lag in bytes.'),
        maxLagSeconds: z.int().describe('Limit of lag in seconds, beyond the delay.'),
        applyDelaySeconds: z.int().describe('How far behind members are kept.'),
        parameters: z
          .record(z.string(), z.string())
          .describe('Parameters in which members differ from the cluster.')
          .meta(atomicMap),
      })
      .optional()
      .describe('What follows from spec.workload and what overrides it.'),
    autoscaling: z
      .object({
        desired: z.int().describe('Members per shard that were decided on.'),
        proposed: z.int().optional().describe('Members per shard that the metrics ask for.'),
        chosen: z
          .string()
          .optional()
          .describe('Type of the metric that counts: the one that asks for the most members.'),
        metrics: z.array(metricStatus).describe('Each metric with its numbers.'),
        heldBy: z
          .string()
          .optional()
          .describe('What keeps the number as it is, although the metrics ask for another.'),
        message: z.string().describe('The last decision in words.'),
        lastScaleTime: z
          .string()
          .optional()
          .meta({ format: 'date-time' })
          .describe('When the number last changed.'),
        quietSince: z
          .string()
          .optional()
          .meta({ format: 'date-time' })
          .describe('Since when fewer members would have been enough.'),
      })
      .optional()
      .describe('Decisions of the autoscaler.'),
  })
  .describe('What was observed.');

/** The whole object, as read from the API server. */
export const readReplicaSet = z
  .object({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('ReadReplicaSet'),
    spec: readReplicaSetSpec,
    status: readReplicaSetStatus.optional(),
  })
  .describe(
    'Members that only read, added to every shard (or some) of a ShardedCluster, behind a Service per shard that leads to ' +
      'those that are fresh.',
  )
  .meta(
    cel(
      {
        rule: 'self.metadata.name.size() <= 30',
        message:
          'the name of a ReadReplicaSet may have 30 characters: Services, pods and labels are named after it ' +
          '(<name>-s12-replicas), and theirs may have 63; choose a shorter one',
      },
      {
        rule: "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message:
          'Services are named after a ReadReplicaSet (<name>-s0-read), so its name has lower-case letters, digits and "-" ' +
          'only, starts with a letter and ends with a letter or digit',
      },
    ),
  );

/** `spec` with its defaults filled in. */
export type ReadReplicaSetSpec = z.output<typeof readReplicaSetSpec>;
/** `status`. */
export type ReadReplicaSetStatus = z.output<typeof readReplicaSetStatus>;
/** State of the set in one shard, in the status. */
export type ReplicaShardStatus = z.output<typeof shardStatus>;
