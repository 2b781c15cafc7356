import type { ConversionStatus } from '../../api/v1alpha1/conversion.ts';
import type { ImportStatus } from '../../api/v1alpha1/import.ts';
import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import type { ShardedClusterSpec, ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ResolvedMigration } from '../../postgres/migration-plan.ts';
import type { KubernetesObject, ObjectMeta, ResourceType } from '../../runtime/kubernetes-object.ts';
import type { Reading } from '../../runtime/reading.ts';
import type { Batch } from '../../sharding/leaves.ts';
import type { MovingBucket } from '../../sharding/shard-catalog.ts';
import type { DatabaseFacts } from './database-facts.ts';
import type { Secret } from './desired/secrets.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from './kubernetes.ts';
import type { ReferenceVerdict } from './reference-memory.ts';

/** A ShardedCluster as the API server sends it, with `spec` parsed and its defaults filled in. */
export interface ShardedCluster extends KubernetesObject {
  metadata: ObjectMeta & { namespace: string; uid: string };
  spec: ShardedClusterSpec;
  status?: ShardedClusterStatus;
}

/** A ShardMap as the API server sends it. */
export interface ShardMapObject extends KubernetesObject {
  spec: ShardMapSpec;
}

/** What Patroni says of one member. */
export interface MemberFacts {
  readonly role: 'primary' | 'standby';
  /** Patroni's word: running, streaming, starting, stopped, `start failed`, … */
  readonly state: string;
  readonly timeline: number | undefined;
  /** Bytes of WAL not replayed; `undefined` when unknown. */
  readonly lagBytes: number | undefined;
  /** Whether commits may wait for this standby. */
  readonly sync: boolean;
  readonly pendingRestart: boolean;
  /** Parameters that wait for a restart, when Patroni names them. */
  readonly pendingParameters: readonly PendingParameter[];
}

/** A parameter whose new value needs a restart. */
export interface PendingParameter {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

/** What Patroni says of a whole shard. */
export interface GroupFacts {
  /** Name of the member that holds the leader key. */
  readonly leader: string | undefined;
  /** Whether somebody paused Patroni's automatic failover. */
  readonly paused: boolean;
  /** Whether commits wait for any of several standbys, and not for a certain one. */
  readonly quorum: boolean;
  readonly members: ReadonlyMap<string, MemberFacts>;
}

/** One member (pod) of a shard. */
export interface ObservedMember {
  readonly name: string;
  readonly ordinal: number;
  readonly pod: Pod | undefined;
  readonly ready: boolean;
  /** Whether the pod was made from an older template than the StatefulSet has now. */
  readonly outdated: boolean;
  /** Whether somebody deleted its claim: its data goes as soon as its pod does, and a new pod clones. */
  readonly losesVolume: boolean;
  readonly zone: string | undefined;
}

/** A standby whose server is up or starts, and which does not follow its primary. */
export interface Stray {
  readonly name: string;
  /** For how long it has stood still, since its server started. */
  readonly forMs: number;
  /** Whether its server was started anew after it had stood still. */
  readonly isRestarted: boolean;
  /** Whether the WAL that it needs next is gone from its primary. */
  readonly isLost: boolean;
  /** Whether it has reached its primary since, and has less than that and nothing else, as far as can be told. */
  readonly isApart: boolean;
}

/** Everything that is known of one shard. */
export interface ObservedShard {
  readonly name: string;
  readonly index: number;
  readonly statefulSet: StatefulSet | undefined;
  /** Whether the StatefulSet controller has seen the StatefulSet as it is now. */
  readonly settled: boolean;
  readonly members: readonly ObservedMember[];
  readonly claims: readonly PersistentVolumeClaim[];
  /** What Patroni says of the members; absent before a first one answers. */
  readonly group: Reading<GroupFacts>;
  /** Patroni's dynamic configuration. */
  readonly config: Reading<Readonly<Record<string, unknown>>>;
  /** The claim of who initialised the shard and is gone, so that all others wait: empty, or the name of data that are gone as well. */
  readonly abandonedClaim: string | undefined;
  /** Members whose server failed to start and has not come up for some time since. */
  readonly failedStarts: readonly string[];
  readonly strays: readonly Stray[];
  /** Members that still serve a certificate from before the last renewal. */
  readonly staleCertificates: readonly string[];
  /** What the primary's database says; absent while there is no primary. */
  readonly database: Reading<DatabaseFacts>;
  /** Of a shard beyond the count: for how long no shard has sent clients there; absent while one does, or may. */
  readonly forgottenMs?: number;
}

/** A Secret that the plan needs; `unknown` must not lead to a new one. */
export type SecretReading = Reading<{
  readonly data: Readonly<Record<string, string>>;
  readonly resourceVersion: string;
}>;

/** SQL of a migration, resolved from the spec or a ConfigMap. */
export type MigrationSource = Reading<string>;

/** The world as one pass sees it. */
export interface Observed {
  readonly shards: readonly ObservedShard[];
  /** What an earlier pass began inside the servers, and a switchover would cut off. */
  readonly underWay?: string | undefined;
  readonly map: Reading<ShardMapObject>;
  /** Whether the map has changed since the shards were asked. */
  readonly isMapNewer?: boolean;
  /** Buckets of ShardMoves that may have changed the map already, and not yet the shards. */
  readonly switching?: readonly MovingBucket[];
  /** Shards that buckets are leaving or reaching by ShardMoves under way. */
  readonly movingShards?: readonly string[];
  readonly secrets: ReadonlyMap<string, SecretReading>;
  /** SQL by migration name. */
  readonly migrations: ReadonlyMap<string, MigrationSource>;
  /** By shard: Services of read replica sets, by whose names its members are known too. */
  readonly readServices?: ReadonlyMap<string, readonly string[]>;
  /** By shard that joined: what its reference tables are in comparison with those of the others, if they differ. */
  readonly references?: ReadonlyMap<string, ReferenceVerdict>;
  /** Objects of ours that are there, by `objectId`. */
  readonly objects: ReadonlyMap<string, KubernetesObject>;
}

/** Settings of the operator that plans depend on. */
export interface Settings {
  readonly postgresImage: string;
}

/** What a plan is made from. */
export interface PlanInput {
  readonly cluster: ShardedCluster;
  readonly observed: Observed;
  readonly settings: Settings;
  /** What the status says of conversions. */
  readonly conversions?: readonly ConversionStatus[];
  /** What it says of the import. */
  readonly import?: ImportStatus | undefined;
  /** Why there are more shards than were asked for. */
  readonly obstacle?: StepResult | undefined;
  readonly now: Date;
}

/** An effect, as frozen data. Destructive ones carry what they were judged on. */
export type Action =
  | { readonly kind: 'create-authority' }
  | { readonly kind: 'rotate-authority'; readonly step: 'stage' | 'promote' }
  | { readonly kind: 'issue-shard'; readonly shard: string; readonly reason: string }
  | { readonly kind: 'issue-operator'; readonly reason: string }
  | { readonly kind: 'generate-login'; readonly role: 'application' | 'monitoring' }
  | { readonly kind: 'write-secret'; readonly secret: Secret }
  | { readonly kind: 'apply'; readonly type: ResourceType; readonly object: KubernetesObject }
  | {
      readonly kind: 'delete';
      readonly type: ResourceType;
      readonly object: KubernetesObject;
      readonly uid: string;
      readonly evidence: string;
      readonly orphan?: boolean;
      /** Of the ShardMap that shows that a shard owns nothing: with another one it stays. */
      readonly mapVersion?: string;
    }
  | { readonly kind: 'set-up-database'; readonly shard: string }
  | {
      readonly kind: 'migrate';
      readonly migration: ResolvedMigration;
      readonly position: number;
      readonly shards: readonly string[];
    }
  | { readonly kind: 'sql'; readonly shard: string; readonly batches: readonly Batch[] }
  | {
      readonly kind: 'copy-references';
      readonly tables: readonly string[];
      readonly from: string;
      readonly to: string;
      /** Whether rows that are there give way. */
      readonly replace: boolean;
      /** Whether the tables become reference tables: nobody writes to them meanwhile. */
      readonly isFirst?: boolean;
    }
  | { readonly kind: 'create-map'; readonly spec: ShardMapSpec }
  | {
      readonly kind: 'update-map';
      readonly map: ShardMapObject;
      readonly spec: ShardMapSpec;
      /** What comes right after it, where the map's rules need two changes. */
      readonly next?: ShardMapSpec;
    }
  | {
      readonly kind: 'patch-config';
      readonly shard: string;
      readonly patch: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'restart'; readonly shard: string; readonly member: string }
  | {
      readonly kind: 'reinitialize';
      readonly shard: string;
      readonly member: string;
      readonly evidence: string;
    }
  | { readonly kind: 'clear-claim'; readonly shard: string; readonly claim: string }
  | { readonly kind: 'relabel'; readonly shard: string; readonly pod: Pod; readonly leader: string }
  | { readonly kind: 'reload'; readonly shard: string; readonly member: string }
  | {
      readonly kind: 'switchover';
      readonly shard: string;
      readonly leader: string;
      readonly candidate: string;
    }
  | { readonly kind: 'resize-claim'; readonly claim: PersistentVolumeClaim; readonly size: string }
  | {
      readonly kind: 'event';
      readonly type: 'Normal' | 'Warning';
      readonly reason: string;
      readonly note: string;
    };

/** How one step ends; the plan goes on after `continue` only. */
export type StepResult =
  | { readonly kind: 'continue'; readonly actions?: readonly Action[] }
  | {
      readonly kind: 'wait';
      readonly reason: string;
      readonly message: string;
      readonly afterMs: number;
      readonly actions?: readonly Action[];
    }
  | {
      readonly kind: 'fail';
      readonly reason: string;
      readonly message: string;
      readonly actions?: readonly Action[];
    };

/** Nothing to do in this step. */
export const proceed: StepResult = { kind: 'continue' };
