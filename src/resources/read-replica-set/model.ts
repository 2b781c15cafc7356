import type { ReadReplicaSetSpec, ReadReplicaSetStatus } from '../../api/v1alpha1/read-replica-set.ts';
import type { PrimaryPosition, ReplicaStats } from '../../postgres/replica-stats.ts';
import type { KubernetesObject, ObjectMeta, ResourceType } from '../../runtime/kubernetes-object.ts';
import type { Reading } from '../../runtime/reading.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { Settings, ShardedCluster } from '../sharded-cluster/model.ts';
import type { WorkKind, WorkState } from './member-work.ts';
import type { Rotation } from './names.ts';
import type { Lag, RotationDecision } from './rotation.ts';

/** A ReadReplicaSet as the API server sends it, with `spec` parsed and its defaults filled in. */
export interface ReadReplicaSet extends KubernetesObject {
  metadata: ObjectMeta & { namespace: string; uid: string };
  spec: ReadReplicaSetSpec;
  status?: ReadReplicaSetStatus;
}

/** What is known of the primary of a shard. */
export interface PrimaryFacts
  extends Pick<
    PrimaryPosition,
    'clockMs' | 'initializedMs' | 'maxWalSenders' | 'maxReplicationSlots' | 'maxWalBytes' | 'standbys'
  > {
  readonly name: string;
  /** When it was asked, by our own clock; what it said may have come late. */
  readonly askedMs: number;
  /** Address of its pod. */
  readonly address: string;
  /** Bytes of all its databases; `undefined` until they were counted. */
  readonly bytes: number | undefined;
}

/** A standby that others stream from. */
export interface Upstream {
  readonly name: string;
  /** Address of its pod. */
  readonly address: string;
}

/** One member of a set in a shard. */
export interface ObservedReplica {
  readonly name: string;
  readonly ordinal: number;
  readonly pod: Pod | undefined;
  readonly ready: boolean;
  /** Whether the pod was made from an older template than the StatefulSet has now. */
  readonly outdated: boolean;
  /** Whether somebody deleted its claim: its data goes as soon as its pod does, and a new pod is a copy. */
  readonly losesVolume: boolean;
  /** As its label says; `undefined`: it has never been in rotation. */
  readonly rotation: Rotation | undefined;
  /** For how long it has been draining. */
  readonly drainingMs: number;
  /** For how long it has been out of rotation. */
  readonly outMs: number;
  /** What is being done to it, or has been only just. */
  readonly work: ReadonlyMap<WorkKind, WorkState>;
  /** What it says of itself. */
  readonly stats: Reading<ReplicaStats>;
  /** How far behind it is, beyond its delay; `undefined` while it is not known. */
  readonly lag: Lag | undefined;
  /** Whether a parameter takes effect only when its server restarts; `undefined` while nobody says. */
  readonly pendingRestart: boolean | undefined;
  /** The standby that it is configured to stream from; `undefined`: the primary, also while that standby does not serve. */
  readonly streamsFrom: Upstream | undefined;
  /** Whether what it streams from said that it no longer has the WAL that it needs next. */
  readonly isLost: boolean;
  /** Whether it still serves a certificate from before the last renewal. */
  readonly hasStaleCertificate: boolean;
}

/** What members of other sets take of the primary of a shard. */
export interface TakenByOthers {
  readonly senders: number;
  readonly slots: number;
}

/** What is known of a set in one shard. */
export interface ObservedReplicaShard {
  readonly name: string;
  /** Whether the set shall have members in it. */
  readonly isWanted: boolean;
  readonly statefulSet: StatefulSet | undefined;
  /** Whether the StatefulSet controller has seen the StatefulSet as it is now. */
  readonly settled: boolean;
  readonly members: readonly ObservedReplica[];
  readonly claims: readonly PersistentVolumeClaim[];
  readonly primary: Reading<PrimaryFacts>;
  /** Standbys of the shard that stream, by name; `undefined` while nobody says. */
  readonly standbys: readonly string[] | undefined;
  /** The standby that the members are configured to stream from now. */
  readonly upstream: string | undefined;
  /** Whether the certificate of the shard is valid for the Service of the set. */
  readonly isCertified: boolean;
  readonly takenByOthers: TakenByOthers;
  /** Whether the Service leads to the primary now. */
  readonly byPrimary: boolean;
  /** Whether a pod is ready that Patroni calls the primary: a Service that leads to it leads to somebody. */
  readonly hasReadyPrimary: boolean;
}

/** The world as one pass sees it. */
export interface ObservedSet {
  /** The ShardedCluster; absent when there is none of the name. */
  readonly cluster: ShardedCluster | undefined;
  readonly shards: readonly ObservedReplicaShard[];
  /** Objects of the set that are there, by `objectId`. */
  readonly objects: ReadonlyMap<string, KubernetesObject>;
  /** What a server of the cluster has against `spec.parameters`; `undefined` while none was asked. */
  readonly parameterProblems: readonly string[] | undefined;
  /** PoolerConfigs that spread reads over its members by weight. */
  readonly weighers: readonly string[];
  /** Members per shard that are wanted: `spec.replicas`, or what the autoscaler decided. */
  readonly replicas: number;
}

/** What a plan is made from. */
export interface SetInput {
  readonly set: ReadReplicaSet;
  readonly observed: ObservedSet;
  readonly settings: Settings;
  readonly now: Date;
}

/** An effect, as frozen data. Destructive ones carry what they were judged on. */
export type SetAction =
  | { readonly kind: 'apply'; readonly type: ResourceType; readonly object: KubernetesObject }
  | {
      readonly kind: 'delete';
      readonly type: ResourceType;
      readonly object: KubernetesObject;
      readonly uid: string;
      readonly evidence: string;
      readonly orphan?: boolean;
    }
  | { readonly kind: 'resize-claim'; readonly claim: PersistentVolumeClaim; readonly size: string }
  | {
      readonly kind: 'rotate';
      readonly pod: Pod;
      readonly rotation: Rotation;
      readonly why: string;
    }
  | {
      readonly kind: 'end-sessions';
      readonly shard: string;
      readonly member: string;
      readonly outMs: number;
      readonly graceMs: number;
    }
  | { readonly kind: 'reload'; readonly shard: string; readonly member: string }
  | { readonly kind: 'restart'; readonly shard: string; readonly member: string }
  | {
      readonly kind: 'reinitialize';
      readonly shard: string;
      readonly member: string;
      readonly evidence: string;
    }
  | {
      readonly kind: 'event';
      readonly type: 'Normal' | 'Warning';
      readonly reason: string;
      readonly note: string;
    };

/** Something that is amiss, or under way. */
export interface Finding {
  readonly reason: string;
  readonly message: string;
}

/** What one pass decided. */
export interface SetPlan {
  readonly actions: readonly SetAction[];
  /** By shard: who serves, and each member's rotation with its reason. */
  readonly rotations: ReadonlyMap<string, RotationDecision>;
  readonly progress: readonly Finding[];
  readonly failures: readonly Finding[];
}
