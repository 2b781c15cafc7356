import type { z } from 'zod';
import { poolerConfig } from './v1alpha1/pooler-config.ts';
import { readReplicaSet } from './v1alpha1/read-replica-set.ts';
import { shardMap } from './v1alpha1/shard-map.ts';
import { shardMove } from './v1alpha1/shard-move.ts';
import { shardedCluster } from './v1alpha1/sharded-cluster.ts';

/** One column of `kubectl get`; `wide` ones are shown with `-o wide` only. */
export interface PrinterColumn {
  readonly name: string;
  readonly jsonPath: string;
  readonly description: string;
  readonly type?: 'string' | 'integer' | 'date';
  readonly wide?: boolean;
}

/** What a CustomResourceDefinition says of one kind. */
export interface Kind {
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  /** The zod schema of the whole object. */
  readonly schema: z.ZodType;
  readonly columns: readonly PrinterColumn[];
  readonly scale?: {
    readonly specReplicasPath: string;
    readonly statusReplicasPath: string;
    readonly labelSelectorPath: string;
  };
}

const age: PrinterColumn = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'Time since the object was created.',
};

const shardedClusterKind: Kind = {
  kind: 'ShardedCluster',
  plural: 'shardedclusters',
  shortNames: ['shc'],
  schema: shardedCluster,
  columns: [
    { name: 'Shards', jsonPath: '.status.shards.summary', description: 'Ready shards of those wanted.' },
    { name: 'Members', jsonPath: '.status.members.summary', description: 'Ready members of those wanted.' },
    {
      name: 'Ready',
      jsonPath: '.status.conditions[?(@.type=="Ready")].status',
      description: 'Whether every shard takes reads and writes.',
    },
    { name: 'Status', jsonPath: '.status.phase', description: 'What the cluster is doing.' },
    {
      name: 'Balance',
      jsonPath: '.status.rebalance.phase',
      description: 'What the rebalancer is doing.',
      wide: true,
    },
    {
      name: 'Primaries',
      jsonPath: '.status.primaries',
      description: 'Pods that take writes.',
      wide: true,
    },
    {
      name: 'Epoch',
      type: 'integer',
      jsonPath: '.status.map.epoch',
      description: 'Epoch of the ShardMap; each change of an owner raises it.',
      wide: true,
    },
    {
      name: 'Message',
      jsonPath: '.status.conditions[?(@.type=="Ready")].message',
      description: 'Why the cluster is ready or not.',
      wide: true,
    },
    age,
  ],
  scale: {
    specReplicasPath: '.spec.shards.count',
    statusReplicasPath: '.status.shards.current',
    labelSelectorPath: '.status.selector',
  },
};

const shardMapKind: Kind = {
  kind: 'ShardMap',
  plural: 'shardmaps',
  shortNames: ['smap'],
  schema: shardMap,
  columns: [
    {
      name: 'Cluster',
      jsonPath: '.spec.cluster',
      description: 'The ShardedCluster that the map belongs to.',
    },
    {
      name: 'Epoch',
      type: 'integer',
      jsonPath: '.spec.epoch',
      description: 'Each change of an owner raises it.',
    },
    {
      name: 'Moving',
      // The API server shows the first value that a path finds.
      jsonPath: '.spec.groups[*].buckets[*].pending.move',
      description: 'The first of the moves that may change an owner now: its ShardMove, a dot, and its id.',
    },
    age,
  ],
};

const readReplicaSetKind: Kind = {
  kind: 'ReadReplicaSet',
  plural: 'readreplicasets',
  shortNames: ['rrs'],
  schema: readReplicaSet,
  columns: [
    { name: 'Cluster', jsonPath: '.spec.cluster', description: 'The ShardedCluster that is read.' },
    { name: 'Workload', jsonPath: '.spec.workload', description: 'What the set is for.' },
    {
      name: 'Replicas',
      type: 'integer',
      jsonPath: '.status.replicas.desired',
      description: 'Members wanted per shard.',
    },
    {
      name: 'Serving',
      jsonPath: '.status.replicas.summary',
      description: 'Members in rotation of those wanted, over all shards.',
    },
    {
      name: 'Ready',
      jsonPath: '.status.conditions[?(@.type=="Ready")].status',
      description: 'Whether every shard can be read through the set.',
    },
    { name: 'Status', jsonPath: '.status.phase', description: 'What the set is doing.' },
    {
      name: 'Message',
      jsonPath: '.status.conditions[?(@.type=="Ready")].message',
      description: 'Why the set is ready or not.',
      wide: true,
    },
    age,
  ],
  scale: {
    specReplicasPath: '.spec.replicas',
    statusReplicasPath: '.status.replicas.current',
    labelSelectorPath: '.status.selector',
  },
};

const poolerConfigKind: Kind = {
  kind: 'PoolerConfig',
  plural: 'poolerconfigs',
  shortNames: ['pcfg'],
  schema: poolerConfig,
  columns: [
    {
      name: 'Cluster',
      jsonPath: '.spec.target.cluster',
      description: 'The ShardedCluster behind the poolers.',
    },
    { name: 'Role', jsonPath: '.spec.target.role', description: 'rw: primaries; ro: standbys.' },
    {
      name: 'Instances',
      jsonPath: '.status.replicas.summary',
      description: 'Ready instances of those wanted.',
    },
    {
      name: 'Ready',
      jsonPath: '.status.conditions[?(@.type=="Ready")].status',
      description: 'Whether clients are taken.',
    },
    { name: 'Status', jsonPath: '.status.phase', description: 'What the poolers are doing.' },
    {
      name: 'Clients',
      type: 'integer',
      jsonPath: '.status.pools.clients',
      description: 'Clients of all instances.',
    },
    {
      name: 'Waiting',
      type: 'integer',
      jsonPath: '.status.pools.waiting',
      description: 'Clients that wait for a server connection.',
      wide: true,
    },
    {
      name: 'Message',
      jsonPath: '.status.conditions[?(@.type=="Ready")].message',
      description: 'Why the poolers are ready or not.',
      wide: true,
    },
    age,
  ],
  scale: {
    specReplicasPath: '.spec.replicas',
    statusReplicasPath: '.status.replicas.current',
    labelSelectorPath: '.status.selector',
  },
};

const shardMoveKind: Kind = {
  kind: 'ShardMove',
  plural: 'shardmoves',
  shortNames: ['smv'],
  schema: shardMove,
  columns: [
    {
      name: 'Cluster',
      jsonPath: '.spec.cluster',
      description: 'The ShardedCluster that the bucket belongs to.',
    },
    { name: 'Operation', jsonPath: '.spec.operation', description: 'move, split, merge or isolate.' },
    { name: 'Group', jsonPath: '.spec.group', description: 'Colocation group of the bucket.' },
    { name: 'Buckets', jsonPath: '.spec.buckets', description: 'Numbers of the buckets.' },
    { name: 'Tenant', jsonPath: '.spec.tenant', description: 'Tenant that is isolated.', wide: true },
    { name: 'From', jsonPath: '.status.from', description: 'Shard that owned it.' },
    { name: 'To', jsonPath: '.spec.to', description: 'Shard that gets it.' },
    { name: 'Phase', jsonPath: '.status.phase', description: 'Where the move is.' },
    {
      name: 'Copied',
      type: 'integer',
      jsonPath: '.status.progress.percent',
      description: 'How far the copy is, in percent.',
    },
    {
      name: 'ETA',
      type: 'integer',
      jsonPath: '.status.progress.etaSeconds',
      description: 'Seconds that the rest of the copy takes.',
      wide: true,
    },
    {
      name: 'Lag',
      type: 'integer',
      jsonPath: '.status.lagBytes',
      description: 'Bytes of WAL that the new shard has not confirmed.',
      wide: true,
    },
    {
      name: 'Fence',
      type: 'integer',
      jsonPath: '.status.fenceMs',
      description: 'Milliseconds in which the bucket took no writes.',
      wide: true,
    },
    { name: 'Message', jsonPath: '.status.message', description: 'What it waits for, and why.', wide: true },
    age,
  ],
};

/** Every kind that has a CustomResourceDefinition. */
export const kinds: readonly Kind[] = [
  readReplicaSetKind,
  shardedClusterKind,
  shardMapKind,
  shardMoveKind,
  poolerConfigKind,
];
