import type { PoolerConfigSpec, PoolerConfigStatus } from '../../api/v1alpha1/pooler-config.ts';
import type { PgpoolNode } from '../../postgres/pgpool.ts';
import type { KubernetesObject, ObjectMeta, ResourceType } from '../../runtime/kubernetes-object.ts';
import type { Reading } from '../../runtime/reading.ts';
import type { ReadReplicaSet } from '../read-replica-set/model.ts';
import type { Secret } from '../sharded-cluster/desired/secrets.ts';
import type { Pod, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { SecretReading, Settings, ShardedCluster } from '../sharded-cluster/model.ts';
import type { ReadSet } from './pgpool/backends.ts';
import type { Sharing } from './sharers.ts';
import type { ServerLimits } from './sizing.ts';

/** A PoolerConfig as the API server sends it, with `spec` parsed and its defaults filled in. */
export interface PoolerConfig extends KubernetesObject {
  metadata: ObjectMeta & { namespace: string; uid: string };
  spec: PoolerConfigSpec;
  status?: PoolerConfigStatus;
}

/** What an instance says of itself on its admin console. */
export interface InstanceFacts {
  /** Revision of the settings that it runs with. */
  readonly revision: string | undefined;
  /** Databases that have clients. */
  readonly databases: readonly string[];
  readonly clients: number;
  /** Clients that wait for a connection, as far as it tells of them, by pool. */
  readonly waits: readonly {
    readonly database: string;
    readonly waiting: number;
    readonly maxWaitSeconds: number;
  }[];
  readonly servers: number;
  /** Those of each database, where it is PgBouncer. */
  readonly databaseServers?: Readonly<Record<string, number>>;
  /** Its sessions on servers; asked when another server has become a primary. */
  readonly sessions?: readonly { readonly database: string; readonly session: string }[];
  /** Its `min_pool_size`, where it is PgBouncer. */
  readonly minPoolSize?: number;
  /** The servers behind it, where it is Pgpool-II. */
  readonly nodes?: readonly PgpoolNode[];
}

/** One instance: its pod, and what it says. */
export interface ObservedInstance {
  readonly name: string;
  readonly ordinal: number;
  readonly pod: Pod;
  readonly ready: boolean;
  readonly facts: Reading<InstanceFacts>;
  /** Share of one core that it uses, in per cent; absent where there is no metrics server. */
  readonly cpuPercent: number | undefined;
}

/** What a shard says: who serves clients of it, and what its server allows. */
export interface ObservedTarget {
  readonly shard: string;
  /**
   * The primary with its timeline, as the ShardedCluster's status has it; of a ReadReplicaSet, members or whoever stands in for
   * them. `undefined` while nobody serves.
   */
  readonly servedBy: string | undefined;
  /** For how long it has been so, as far as this process has seen it. */
  readonly servedMs: number;
  readonly limits: Reading<ServerLimits>;
  /** Sessions of poolers on it, as instances name them; known when another server has just become the primary. */
  readonly sessions?: ReadonlySet<string> | undefined;
  /** Users of the sessions of poolers whose last word was LISTEN. */
  readonly listeners: readonly string[];
}

/**
 * By then every node knows where a Service leads: a connection that was made sooner may lead to a member that has left rotation
 * and serves on, so that poolers are told to connect anew until then.
 */
export const everybodyKnowsMs = 2_000;

/** The world as one pass sees it. */
export interface Observed {
  /** The ShardedCluster; absent when there is none of that name. */
  readonly cluster: ShardedCluster | undefined;
  /** The ReadReplicaSet that the target names, if it names one that is there. */
  readonly replicaSet: ReadReplicaSet | undefined;
  /** The ReadReplicaSets that Pgpool-II reads, as far as they are there. */
  readonly sets: readonly ReadSet['set'][];
  readonly targets: readonly ObservedTarget[];
  /** PoolerConfigs that may connect to the same servers. */
  readonly sharing: Sharing;
  readonly secrets: ReadonlyMap<string, SecretReading>;
  readonly statefulSet: StatefulSet | undefined;
  readonly instances: readonly ObservedInstance[];
  /** Objects of ours that are there, by `objectId`. */
  readonly objects: ReadonlyMap<string, KubernetesObject>;
  /** Instances and databases that a switchover of this very process holds: `pod uid/database`. */
  readonly held: ReadonlySet<string>;
  /** Shards whose primary changed while all their clients were held back. */
  readonly switched: ReadonlySet<string>;
}

/** What a plan is made from. */
export interface PlanInput {
  readonly pooler: PoolerConfig;
  readonly observed: Observed;
  readonly settings: Settings;
  readonly now: Date;
}

/** An effect, as frozen data. */
export type Action =
  | { readonly kind: 'generate-admin' }
  | { readonly kind: 'generate-key' }
  | { readonly kind: 'issue'; readonly reason: string }
  | { readonly kind: 'write-secret'; readonly secret: Secret }
  | { readonly kind: 'apply'; readonly type: ResourceType; readonly object: KubernetesObject }
  | { readonly kind: 'deliver'; readonly pod: string; readonly revision: string }
  | { readonly kind: 'reload'; readonly pod: string }
  | {
      readonly kind: 'reconnect';
      readonly pod: string;
      readonly database: string;
    };

/** How a pass ends. */
export type Result =
  | { readonly kind: 'ready' }
  | { readonly kind: 'wait'; readonly reason: string; readonly message: string; readonly afterMs: number }
  | { readonly kind: 'fail'; readonly reason: string; readonly message: string };
