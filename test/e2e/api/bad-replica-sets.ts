/** ReadReplicaSets that the API server refuses: what stands in `spec`, and what it says. */
export const badReplicaSets: readonly {
  readonly what: string;
  readonly spec: Readonly<Record<string, unknown>>;
  readonly says: string;
}[] = [
  { what: 'no cluster', spec: { replicas: 1 }, says: 'spec.cluster' },
  {
    what: 'a name of a shard that is none',
    spec: { cluster: 'shop', shards: ['first'] },
    says: 'spec.shards[0]',
  },
  { what: 'a shard twice', spec: { cluster: 'shop', shards: ['s0', 's0'] }, says: 'uplicate' },
  { what: 'fewer members than none', spec: { cluster: 'shop', replicas: -1 }, says: 'spec.replicas' },
  {
    what: 'more members than a set can have',
    spec: { cluster: 'shop', replicas: 33 },
    says: 'spec.replicas',
  },
  {
    what: 'a least number over the most',
    spec: autoscaled({ minReplicas: 3, maxReplicas: 2 }),
    says: 'minReplicas is more than maxReplicas: lower minReplicas or raise maxReplicas',
  },
  {
    what: 'a metric twice',
    spec: autoscaled({
      metrics: [
        { type: 'QPS', target: 100 },
        { type: 'QPS', target: 200 },
      ],
    }),
    says: 'uplicate',
  },
  {
    what: 'a target of 0',
    spec: autoscaled({ metrics: [{ type: 'CPU', target: 0 }] }),
    says: 'spec.autoscaling.metrics[0].target',
  },
  { what: 'no metric', spec: autoscaled({ metrics: [] }), says: 'spec.autoscaling.metrics' },
  {
    what: 'a metric that is none',
    spec: autoscaled({ metrics: [{ type: 'Happiness', target: 1 }] }),
    says: 'Unsupported value: "Happiness"',
  },
  {
    what: 'autoscaling of a delayed set',
    spec: { ...autoscaled({}), workload: 'delayed' },
    says: 'a delayed set is not there for load',
  },
  {
    what: 'a delayed set that commits wait for',
    spec: { cluster: 'shop', workload: 'delayed', parameters: { synchronous_standby_names: '*' } },
    says:
      'remove "synchronous_standby_names", which Herdsman sets itself: no commit waits for members of a set; ' +
      'spec.durability of the ShardedCluster says for whom commits wait',
  },
  {
    what: 'a delay by parameter',
    spec: { cluster: 'shop', parameters: { recovery_min_apply_delay: '1h' } },
    says: 'write the delay in spec.applyDelay of the ReadReplicaSet',
  },
  {
    what: 'certificates of its own',
    spec: { cluster: 'shop', parameters: { ssl_cert_file: 'mine.crt' } },
    says: 'remove "ssl_cert_file", which Herdsman sets itself: use spec.tls of the ShardedCluster',
  },
  {
    what: 'a promotion by parameter',
    spec: { cluster: 'shop', parameters: { recovery_target_action: 'promote' } },
    says: 'recovery_target_action',
  },
  {
    what: 'a parameter of which members have what their primary has',
    spec: { cluster: 'shop', parameters: { max_connections: '300' } },
    says: 'write them in spec.postgres.parameters of the ShardedCluster: max_connections',
  },
  {
    what: 'a lag limit of 0 s',
    spec: { cluster: 'shop', lag: { maxSeconds: 0 } },
    says: 'spec.lag.maxSeconds',
  },
  {
    what: 'a lag limit that keeps everybody out',
    spec: { cluster: 'shop', lag: { maxBytes: 0 } },
    says: 'a limit below 8Ki, the page that WAL is written by, would keep every member out',
  },
  { what: 'a lag limit in no unit', spec: { cluster: 'shop', lag: { maxBytes: 'much' } }, says: 'maxBytes' },
  {
    what: 'a copy too slow to end',
    spec: { cluster: 'shop', maxCloneRate: '1Ki' },
    says: 'a copy can be limited to between 32Ki and 1Gi a second',
  },
  {
    what: 'no copies at all',
    spec: { cluster: 'shop', maxConcurrentClones: 0 },
    says: 'maxConcurrentClones',
  },
  { what: 'a grace that is no duration', spec: { cluster: 'shop', drainGrace: 'soon' }, says: 'drainGrace' },
  { what: 'a source that is none', spec: { cluster: 'shop', source: 'backup' }, says: 'Unsupported value' },
];

function autoscaled(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const autoscaling = { maxReplicas: 3, metrics: [{ type: 'QPS', target: 100 }], ...fields };
  return { cluster: 'shop', autoscaling };
}

/** Changes that it refuses. */
export const badReplicaChanges: readonly {
  readonly what: string;
  readonly before: Readonly<Record<string, unknown>>;
  readonly spec: Readonly<Record<string, unknown>>;
  readonly says: string;
}[] = [
  {
    what: 'a set of the same name for another cluster',
    before: { cluster: 'shop' },
    spec: { cluster: 'other' },
    says: 'a set belongs to one cluster for good',
  },
  {
    what: 'a smaller volume',
    before: { cluster: 'shop', storage: { size: '2Gi' } },
    spec: { cluster: 'shop', storage: { size: '1Gi' } },
    says: 'a volume cannot shrink',
  },
  {
    what: 'another class of volume',
    before: { cluster: 'shop', storage: { size: '2Gi', storageClassName: 'fast' } },
    spec: { cluster: 'shop', storage: { size: '2Gi', storageClassName: 'slow' } },
    says: 'volumes cannot change their class',
  },
];
