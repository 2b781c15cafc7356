/** What a benchmark shall reach: at most `target`, or at least. */
export interface Target {
  readonly what: string;
  readonly unit: 'ms' | 's' | 'x' | '%' | 'errors' | 'rows' | 'requests/min' | 'requests' | 'MiB';
  readonly target: number;
  readonly atLeast?: boolean;
}

function handRun(what: string): Target {
  const text = `${what}: TPS through ours of those through a PgBouncer set up by hand, median`;
  return { what: text, unit: 'x', target: 0.98, atLeast: true };
}

/** The targets of each benchmark, in the order of its report. */
export const targets = {
  converge: {
    oneShard: { what: '1 shard x 3 members: apply to all ready, median', unit: 's', target: 12 },
    twoShards: { what: '2 shards x 3 members: apply to all ready, median', unit: 's', target: 20 },
  },
  failover: {
    'primary pod deleted by force': {
      what: 'write gap, pod deleted by force, median',
      unit: 'ms',
      target: 2000,
    },
    'primary postgres killed': { what: 'write gap, postgres killed by -9, median', unit: 'ms', target: 1500 },
    'primary container frozen': { what: 'write gap, container frozen, median', unit: 'ms', target: 20_000 },
    'primary node partitioned': { what: 'write gap, node partitioned, median', unit: 'ms', target: 20_000 },
    lost: { what: 'acknowledged rows lost, all faults', unit: 'rows', target: 0 },
  },
  switchover: {
    gap: { what: 'write gap, planned switchover, median', unit: 'ms', target: 1000 },
    lost: { what: 'acknowledged rows lost', unit: 'rows', target: 0 },
  },
  pooler: {
    'select 8': handRun('pgbench -S, 8 clients'),
    'select 32': handRun('pgbench -S, 32 clients'),
    'select 128': handRun('pgbench -S, 128 clients'),
    'tpcb 8': handRun('TPC-B, 8 clients'),
    'tpcb 32': handRun('TPC-B, 32 clients'),
    'tpcb 128': handRun('TPC-B, 128 clients'),
    connecting: {
      what: 'a connection for each transaction, 128 clients, TLS: TPS through ours of those made directly, median',
      unit: 'x',
      target: 3,
      atLeast: true,
    },
    connectingPlain: {
      what: 'a connection for each transaction, 128 clients, without TLS: TPS through ours of those made directly, median',
      unit: 'x',
      target: 3,
      atLeast: true,
    },
    connectingCost: {
      what: 'the same: CPU time of the servers for a connection made directly, of that for one through ours, median',
      unit: 'x',
      target: 3,
      atLeast: true,
    },
    connectingLimited: {
      what: 'a connection for each transaction on the cluster, member and pooler of 0.3 CPU each: TPS through ours of direct ones, median',
      unit: 'x',
      target: 3,
      atLeast: true,
    },
    memory: { what: 'memory of 1,000 clients with TLS', unit: 'MiB', target: 100 },
    errors: { what: 'errors of clients in planned switchovers', unit: 'errors', target: 0 },
    wait: { what: 'longest wait of a client in planned switchovers', unit: 'ms', target: 2000 },
  },
  move: {
    fenceMedian: { what: 'fence, median', unit: 'ms', target: 20 },
    fenceP99: { what: 'fence, p99', unit: 'ms', target: 100 },
    gapMoved: {
      what: 'longest wait of a write to the moved bucket beyond its usual p99, p99 of moves',
      unit: 'ms',
      target: 100,
    },
    gapOthers: {
      what: 'longest wait of a write to other buckets beyond their usual p99, p99 of moves',
      unit: 'ms',
      target: 50,
    },
    rate: {
      what: 'rate of a whole move, of that of a raw COPY with the key built after just before it, median',
      unit: 'x',
      target: 0.8,
      atLeast: true,
    },
    throughput: {
      what: 'writes a second to other buckets during a large move, of those before, median',
      unit: 'x',
      target: 0.8,
      atLeast: true,
    },
    errors: { what: 'errors of clients that follow the map', unit: 'errors', target: 0 },
    lost: { what: 'acknowledged writes lost or stale', unit: 'rows', target: 0 },
    doubled: { what: 'rows doubled', unit: 'rows', target: 0 },
  },
  rebalance: {
    total: { what: '2 to 4 shards: scale to all balanced and at rest', unit: 's', target: 120 },
    balance: { what: 'load of the fullest shard over the mean, at the end', unit: '%', target: 10 },
    throughput: { what: 'commits a second during, of those before', unit: 'x', target: 0.8, atLeast: true },
    errors: { what: 'errors seen by clients that follow the map', unit: 'errors', target: 0 },
    wrong: { what: 'rows lost, stale, doubled or strange', unit: 'rows', target: 0 },
  },
  replicas: {
    copy: {
      what: 'MB/s of a copy of ours, of those of a plain pg_basebackup to the same disk, median',
      unit: 'x',
      target: 0.9,
      atLeast: true,
    },
    join: {
      what: 'one member more of a 250 MB shard: decision to in rotation, median',
      unit: 's',
      target: 15,
    },
    leave: { what: 'lag at the limit until out of the Service, longest', unit: 's', target: 3 },
    stale: { what: 'stalest read beyond the limit of lag', unit: 's', target: 3 },
    two: { what: 'TPS of two members, of twice those of one', unit: 'x', target: 0.85, atLeast: true },
    three: {
      what: 'TPS of three members, of three times those of one',
      unit: 'x',
      target: 0.8,
      atLeast: true,
    },
    writes: {
      what: 'writes of the operator for 10 members within their limits',
      unit: 'requests/min',
      target: 0,
    },
    requests: { what: 'API requests of the operator for 10 members', unit: 'requests/min', target: 2 },
  },
  idle: {
    requests: { what: 'API requests of the operator per cluster', unit: 'requests/min', target: 2 },
    writes: { what: 'writes of the operator but for its Lease', unit: 'requests', target: 0 },
    memory: { what: 'resident memory of the operator that works', unit: 'MiB', target: 120 },
  },
} satisfies Record<string, Record<string, Target>>;
