import type { ResolvedMigration } from '../../../postgres/migration-plan.ts';
import type { ModelTable } from '../../../postgres/read-model/definition.ts';
import type { SourceFacts } from '../../../postgres/read-model/publisher.ts';
import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import type { Reading } from '../../../runtime/reading.ts';
import type { ShardMapObject } from '../../sharded-cluster/model.ts';
import type { ObservedReplica } from '../model.ts';

/** A shard that read models follow. */
export interface ModelSource {
  readonly shard: string;
  /** Pod of its primary, and where that is; `undefined` while there is no single one. */
  readonly member: string | undefined;
  readonly address: string | undefined;
  readonly facts: Reading<SourceFacts>;
}

/** A migration that a member could not apply. */
export interface FailedMigration {
  readonly name: string;
  readonly sql: string;
  readonly message: string;
  /** Whether its tables had rows then: without them it may succeed. */
  readonly hadRows: boolean;
}

/** One member of a read model. */
export interface ModelMember {
  readonly replica: ObservedReplica;
  /** Whether roles, database and schema were made since this operator knows the pod. */
  readonly isSetUp: boolean;
  readonly facts: Reading<ModelFacts>;
  readonly failed: FailedMigration | undefined;
}

/** Migrations with their SQL, or why there are none. */
export type Migrations =
  | { readonly kind: 'known'; readonly list: readonly ResolvedMigration[] }
  | { readonly kind: 'unknown' | 'missing'; readonly message: string };

/** Everything that the next step of a member follows from. */
export interface ModelWorld {
  /** Name of the set. */
  readonly set: string;
  readonly tables: readonly ModelTable[];
  /** Tables that lie on several shards without being in `spec.tables` of the cluster. */
  readonly undistributed: readonly string[];
  readonly sources: readonly ModelSource[];
  readonly map: ShardMapObject | undefined;
  /** Of the cluster. */
  readonly migrations: Migrations;
  /** Of the read model alone. */
  readonly extras: Migrations;
  readonly replacements: ReadonlyMap<string, string>;
  /** Other members that copy now. */
  readonly copying: number;
  readonly maxCopies: number;
  /** Whether every other member has all that the set wants, and serves. */
  readonly othersServe: boolean;
  /** Whether there are other members, of which none has a copy to serve: without this one nobody would. */
  readonly isLast: boolean;
}

/** What a member does next. */
export type ModelStep =
  | { readonly kind: 'set-up' }
  /** Nothing is followed any more, and the tables are empty. */
  | { readonly kind: 'reset'; readonly reason: string }
  | {
      readonly kind: 'migrate';
      readonly migration: ResolvedMigration;
      readonly position: number;
      /** SQL that is run in its place. */
      readonly replacement: string | undefined;
      readonly own: boolean;
      readonly hasRows: boolean;
    }
  | { readonly kind: 'begin' }
  | { readonly kind: 'follow'; readonly shard: string; readonly copyData: boolean }
  | { readonly kind: 'unfollow'; readonly shard: string }
  | { readonly kind: 'redirect'; readonly shard: string }
  | { readonly kind: 'go-live' }
  | { readonly kind: 'wait'; readonly reason: string; readonly message: string }
  | { readonly kind: 'fail'; readonly reason: string; readonly message: string }
  | { readonly kind: 'none' };
