// Sketches of what a read model's next step is decided on.
import { checksumOf, type ResolvedMigration } from '../../../postgres/migration-plan.ts';
import { definitionOf, type ModelTable } from '../../../postgres/read-model/definition.ts';
import { publicationName } from '../../../postgres/read-model/names.ts';
import type { SourceFacts } from '../../../postgres/read-model/publisher.ts';
import type { ModelFacts, ModelStream } from '../../../postgres/read-model/subscriber.ts';
import type { LedgerEntry } from '../../../sharding/shard-catalog.ts';
import type { ShardMapObject } from '../../sharded-cluster/model.ts';
import type { ModelMember, ModelSource, ModelWorld } from '../logical/model.ts';
import { epochsOf } from '../logical/next-step.ts';
import type { ObservedReplica } from '../model.ts';
import { sketchStream } from './stream.ts';

export const tables: readonly ModelTable[] = [{ name: 'orders', reference: false }];
export const definition = definitionOf(tables);
export const copy = 'hr_reports_m0_abcdef';
export const migrations: readonly ResolvedMigration[] = [
  { name: 'one', sql: 'CREATE TABLE orders ()' },
  { name: 'two', sql: 'ALTER TABLE orders ADD COLUMN note text' },
];

export function ledger(count: number): LedgerEntry[] {
  return migrations
    .slice(0, count)
    .map(({ name, sql }, index) => ({ name, position: index + 1, checksum: checksumOf(sql) }));
}

export function map(owners: readonly string[], pending?: number): ShardMapObject {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMap',
    metadata: { name: 'shop' },
    spec: {
      cluster: 'shop',
      epoch: 9,
      groups: [
        {
          name: 'orders',
          strategy: 'hash',
          buckets: owners.map((shard, id) => ({
            id,
            shard,
            epoch: 1,
            ...(id === pending ? { pending: { move: 'm', attempt: 1 } } : {}),
          })),
        },
      ],
    },
  };
}

export function source(shard: string, facts: Partial<SourceFacts> = {}): ModelSource {
  return {
    shard,
    member: `shop-${shard}-0`,
    address: '10.0.0.1',
    facts: {
      state: 'present',
      value: {
        timeline: 1,
        position: 100,
        maxWalSenders: 20,
        maxReplicationSlots: 20,
        ledger: ledger(1),
        moving: false,
        tables: [{ name: 'orders', owner: 'app', partitioned: true, columns: ['id'], identity: ['id'] }],
        publications: [publicationName('reports', definition)],
        slots: [{ name: copy, lost: false }],
        roles: [copy],
        ...facts,
      },
    },
  };
}

export const stream = (shard: string, fields: Partial<ModelStream> = {}) => sketchStream(copy, shard, fields);

export const world: ModelWorld = {
  set: 'reports',
  tables,
  undistributed: [],
  sources: [source('s0'), source('s1')],
  map: map(['s0', 's1']),
  migrations: { kind: 'known', list: migrations },
  extras: { kind: 'known', list: [] },
  replacements: new Map(),
  copying: 0,
  maxCopies: 1,
  othersServe: true,
  isLast: false,
};

export const replica = { name: 'reports-model-replicas-0', ordinal: 0, ready: true } as ObservedReplica;
export const buckets = epochsOf(map(['s0', 's1']).spec);
export const began = { name: copy, definition, buckets, live: false };
export const live = { ...began, live: true };

export function member(facts: Partial<ModelFacts>, fields: Partial<ModelMember> = {}): ModelMember {
  const value: ModelFacts = {
    copy: undefined,
    streams: [],
    ledger: ledger(1),
    pendingRestart: false,
    ...facts,
  };
  return { replica, isSetUp: true, facts: { state: 'present', value }, failed: undefined, ...fields };
}

export const both = [stream('s0'), stream('s1')];
export const failedTwo = { name: 'two', sql: migrations[1]?.sql ?? '', message: 'no' };
