import { describe, expect, it } from 'vitest';
import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import {
  both,
  copy,
  failedTwo,
  ledger,
  live,
  map,
  member,
  source,
  stream,
  world,
} from '../test-support/model-world.ts';
import type { ModelMember, ModelWorld } from './model.ts';
import { nextStep } from './next-step.ts';

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
