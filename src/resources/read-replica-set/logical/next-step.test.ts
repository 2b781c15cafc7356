import { describe, expect, it } from 'vitest';
import { checksumOf, type ResolvedMigration } from '../../../postgres/migration-plan.ts';
import { definitionOf, type ModelTable } from '../../../postgres/read-model/definition.ts';
import { publicationName } from '../../../postgres/read-model/names.ts';
import type { SourceFacts } from '../../../postgres/read-model/publisher.ts';
import type { ModelFacts, ModelStream } from '../../../postgres/read-model/subscriber.ts';
import type { LedgerEntry } from '../../../sharding/shard-catalog.ts';
import type { ShardMapObject } from '../../sharded-cluster/model.ts';
import type { ObservedReplica } from '../model.ts';
import { sketchStream } from '../test-support/stream.ts';
import type { ModelMember, ModelSource, ModelWorld } from './model.ts';
import { epochsOf, hasChanged, nextStep, ownPosition } from './next-step.ts';

const tables: readonly ModelTable[] = [{ name: 'orders', reference: false }];
const definition = definitionOf(tables);
const copy = 'hr_reports_m0_abcdef';
const migrations: readonly ResolvedMigration[] = [
  { name: 'one', sql: 'CREATE TABLE orders ()' },
  { name: 'two', sql: 'ALTER TABLE orders ADD COLUMN note text' },
];

function ledger(count: number): LedgerEntry[] {
  return migrations
    .slice(0, count)
    .map(({ name, sql }, index) => ({ name, position: index + 1, checksum: checksumOf(sql) }));
}

function map(owners: readonly string[], pending?: number): ShardMapObject {
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

function source(shard: string, facts: Partial<SourceFacts> = {}): ModelSource {
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
        ...facts,
      },
    },
  };
}

const stream = (shard: string, fields: Partial<ModelStream> = {}) => sketchStream(copy, shard, fields);

const world: ModelWorld = {
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

const replica = { name: 'reports-model-replicas-0', ordinal: 0, ready: true } as ObservedReplica;
const buckets = epochsOf(map(['s0', 's1']).spec);
const began = { name: copy, definition, buckets, live: false };
const live = { ...began, live: true };

function member(facts: Partial<ModelFacts>, fields: Partial<ModelMember> = {}): ModelMember {
  const value: ModelFacts = {
    copy: undefined,
    streams: [],
    ledger: ledger(1),
    pendingRestart: false,
    ...facts,
  };
  return { replica, isSetUp: true, facts: { state: 'present', value }, failed: undefined, ...fields };
}

const both = [stream('s0'), stream('s1')];
const failedTwo = { name: 'two', sql: migrations[1]?.sql ?? '', message: 'no' };

describe('a member that has nothing yet', () => {
  it.each<[string, Partial<ModelWorld>, Partial<ModelFacts>, object]>([
    [
      'migrates up to what the shards have',
      {},
      { ledger: [] },
      { kind: 'migrate', position: 1, hasRows: false },
    ],
    ['begins when it has the tables', {}, {}, { kind: 'begin' }],
    [
      'applies its own migrations before',
      { extras: { kind: 'known', list: [{ name: 'x', sql: 'SELECT' }] } },
      {},
      { kind: 'migrate', position: ownPosition + 1, own: true },
    ],
    [
      'waits while shards differ',
      { sources: [source('s0'), source('s1', { ledger: ledger(2) })] },
      {},
      { kind: 'wait', reason: 'Migrating' },
    ],
    [
      'waits while a bucket moves',
      { map: map(['s0', 's1'], 1) },
      {},
      { kind: 'wait', reason: 'WaitingForMoves' },
    ],
    [
      'waits while a shard knows of a move',
      { sources: [source('s0', { moving: true })] },
      {},
      { kind: 'wait', reason: 'WaitingForMoves' },
    ],
    ['waits for its turn', { copying: 1 }, {}, { kind: 'wait', reason: 'WaitingForCopies' }],
    [
      'fails at tables that are not there',
      { sources: [source('s0', { tables: [] })] },
      {},
      { kind: 'fail', reason: 'TablesInvalid' },
    ],
    [
      "fails at tables that are nobody's",
      { undistributed: ['orders'] },
      {},
      { kind: 'fail', reason: 'TablesInvalid' },
    ],
    [
      'waits for a shard that is silent',
      { sources: [{ ...source('s0'), facts: { state: 'unknown', error: new Error('x') } }] },
      {},
      { kind: 'wait', reason: 'SourceUnknown' },
    ],
    ['lets go of what it does not know', {}, { streams: both }, { kind: 'reset' }],
  ])('%s', (_, change, facts, expected) => {
    expect(nextStep({ ...world, ...change }, member(facts))).toMatchObject(expected);
  });

  it('is set up first, once its server is ready', () => {
    expect(nextStep(world, member({}, { replica: { ...replica, ready: false } }))).toMatchObject({
      kind: 'wait',
    });
    expect(nextStep(world, member({}, { isSetUp: false }))).toEqual({ kind: 'set-up' });
    expect(nextStep(world, { ...member({}), facts: { state: 'absent' } })).toMatchObject({ kind: 'wait' });
  });
});

describe('a member that copies', () => {
  it.each<[string, Partial<ModelWorld>, Partial<ModelFacts>, object]>([
    [
      'follows one shard after the other',
      {},
      { streams: [stream('s0')] },
      { kind: 'follow', shard: 's1', copyData: true },
    ],
    [
      'waits for the tables',
      {},
      { streams: [stream('s0', { copying: ['orders'] }), stream('s1')] },
      { kind: 'wait', reason: 'Copying' },
    ],
    [
      'tells of a copy that fails',
      {},
      { streams: [stream('s0', { copying: ['orders'], syncErrors: 9 }), stream('s1')] },
      { kind: 'fail', reason: 'CopyFails' },
    ],
    ['is done', {}, { streams: both }, { kind: 'go-live' }],
    [
      'begins anew when a bucket has moved',
      {
        map: {
          ...map(['s0', 's0']),
          spec: {
            ...map(['s0', 's0']).spec,
            groups: [
              {
                ...map(['s0', 's0']).spec.groups[0],
                name: 'orders',
                strategy: 'hash',
                buckets: [
                  { id: 0, shard: 's0', epoch: 1 },
                  { id: 1, shard: 's0', epoch: 9 },
                ],
              },
            ],
          },
        },
      },
      { streams: both },
      { kind: 'reset' },
    ],
    [
      'begins anew when a stream was stopped',
      {},
      { streams: [stream('s0'), stream('s1', { enabled: false })] },
      { kind: 'reset', reason: 'its stream from shard s1 was stopped while it was copied' },
    ],
    ['begins anew when one is about to', { map: map(['s0', 's1'], 0) }, { streams: both }, { kind: 'reset' }],
    [
      'begins anew after a migration',
      { sources: [source('s0', { ledger: ledger(2) }), source('s1')] },
      { streams: both },
      { kind: 'reset' },
    ],
    [
      'begins anew after a failover',
      { sources: [source('s0', { timeline: 2 }), source('s1')] },
      { streams: both },
      { kind: 'reset' },
    ],
  ])('%s', (_, change, facts, expected) => {
    expect(nextStep({ ...world, ...change }, member({ copy: began, ...facts }))).toMatchObject(expected);
  });
});

describe('a member that serves', () => {
  it.each<[string, Partial<ModelWorld>, Partial<ModelFacts>, Partial<ModelMember>, object]>([
    ['has nothing to do', {}, {}, {}, { kind: 'none' }],
    ['does not mind a move', { map: map(['s0', 's1'], 0) }, {}, {}, { kind: 'none' }],
    [
      'waits until all streams are at a migration',
      {},
      { streams: [stream('s0', { waitsFor: 2 }), stream('s1')] },
      {},
      { kind: 'wait', reason: 'Migrating' },
    ],
    [
      'then applies it',
      {},
      { streams: [stream('s0', { waitsFor: 2 }), stream('s1', { waitsFor: 2 })] },
      {},
      { kind: 'migrate', position: 2, hasRows: true },
    ],
    [
      'runs other SQL for it',
      { replacements: new Map([['two', 'SELECT 1']]) },
      { streams: [stream('s0', { waitsFor: 2 }), stream('s1', { waitsFor: 2 })] },
      {},
      { kind: 'migrate', replacement: 'SELECT 1' },
    ],
    [
      'copies anew when its rows forbid it',
      {},
      {},
      { failed: { ...failedTwo, hadRows: true } },
      { kind: 'reset' },
    ],
    [
      'follows a new shard without a copy',
      { sources: [...world.sources, source('s2')] },
      {},
      {},
      { kind: 'follow', shard: 's2', copyData: false },
    ],
    [
      'waits with it while a bucket moves',
      { sources: [...world.sources, source('s2')], map: map(['s0', 's1'], 0) },
      {},
      {},
      { kind: 'wait', reason: 'WaitingForMoves' },
    ],
    [
      'copies anew when the shard has buckets already',
      { sources: [...world.sources, source('s2')], map: map(['s0', 's2']) },
      {},
      {},
      { kind: 'reset' },
    ],
    [
      'keeps all while its cluster tells of none',
      { sources: [] },
      {},
      {},
      { kind: 'wait', reason: 'NoShards' },
    ],
    ['lets a shard go', { sources: [source('s0')] }, {}, {}, { kind: 'unfollow', shard: 's1' }],
    [
      'goes to another primary',
      { sources: [source('s0', { timeline: 2 }), source('s1')] },
      {},
      {},
      { kind: 'redirect', shard: 's0' },
    ],
    [
      'goes on with a stream that was stopped for what is not wanted any more',
      {},
      { streams: [stream('s0'), stream('s1', { enabled: false, running: false })] },
      {},
      { kind: 'redirect', shard: 's1' },
    ],
    [
      'copies anew without its slot',
      { sources: [source('s0', { slots: [] }), source('s1')] },
      {},
      {},
      { kind: 'reset' },
    ],
    [
      'serves on while its rows forbid a migration and nobody else has a copy',
      { isLast: true },
      {},
      { failed: { ...failedTwo, hadRows: true } },
      { kind: 'wait', reason: 'WaitingForCopies' },
    ],
    [
      'serves on without its slot while nobody else has a copy',
      { sources: [source('s0', { slots: [] }), source('s1')], isLast: true },
      {},
      {},
      { kind: 'wait', reason: 'WaitingForCopies' },
    ],
    [
      'serves on without its slot while as many are copied as may be',
      { sources: [source('s0', { slots: [] }), source('s1')], copying: 1 },
      {},
      {},
      { kind: 'wait', reason: 'WaitingForCopies' },
    ],
    [
      'is copied anew at once when it has what no shard has, whoever serves',
      { isLast: true, othersServe: false },
      { streams: [stream('s0', { truncated: true }), stream('s1')] },
      {},
      { kind: 'reset' },
    ],
    [
      'copies anew without its WAL',
      { sources: [source('s0', { slots: [{ name: copy, lost: true }] }), source('s1')] },
      {},
      {},
      { kind: 'reset' },
    ],
    [
      'copies anew without its publication',
      { sources: [source('s0', { publications: [] }), source('s1')] },
      {},
      {},
      { kind: 'reset' },
    ],
    [
      'copies anew after the TRUNCATE of one shard',
      {},
      { streams: [stream('s0', { truncated: true }), stream('s1')] },
      {},
      { kind: 'reset' },
    ],
    [
      'copies anew for other tables',
      { tables: [{ name: 'orders', columns: ['id'], reference: false }] },
      {},
      {},
      { kind: 'reset' },
    ],
    [
      'waits with that for its turn',
      { tables: [{ name: 'orders', columns: ['id'], reference: false }], othersServe: false },
      {},
      {},
      { kind: 'wait', reason: 'WaitingForCopies' },
    ],
    [
      'goes on with its tables while the others are wrong',
      { tables: [{ name: 'none', reference: false }] },
      {},
      {},
      { kind: 'fail', reason: 'TablesInvalid' },
    ],
    [
      'goes on while a shard is silent',
      { sources: [{ ...source('s0'), facts: { state: 'unknown', error: new Error('x') } }, source('s1')] },
      {},
      {},
      { kind: 'none' },
    ],
  ])('%s', (_, change, facts, fields, expected) => {
    const at = { copy: live, streams: both, ...facts };
    expect(nextStep({ ...world, ...change }, member(at, fields))).toMatchObject(expected);
  });

  it('does not try again what failed on empty tables, until it is other SQL', () => {
    const fresh = member({}, { failed: { ...failedTwo, hadRows: false } });
    const behind = { ...world, sources: [source('s0', { ledger: ledger(2) })] };
    expect(nextStep(behind, fresh)).toMatchObject({ kind: 'fail', reason: 'MigrationFailed' });
    const replaced = { ...behind, replacements: new Map([['two', 'SELECT 1']]) };
    expect(nextStep(replaced, fresh)).toMatchObject({ kind: 'migrate', replacement: 'SELECT 1' });
  });
});

describe('a map', () => {
  it('has changed when a bucket has another epoch, moves, or is another one', () => {
    const { spec } = map(['s0', 's1']);
    expect(hasChanged(epochsOf(spec), spec)).toBe(false);
    expect(hasChanged(epochsOf(spec), map(['s0', 's1'], 1).spec)).toBe(true);
    expect(hasChanged(epochsOf(spec), map(['s0', 's1', 's1']).spec)).toBe(true);
    expect(hasChanged({}, spec)).toBe(false);
  });
});
