import { describe, expect, it } from 'vitest';
import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import {
  began,
  both,
  ledger,
  map,
  member,
  replica,
  source,
  stream,
  world,
} from '../test-support/model-world.ts';
import type { ModelWorld } from './model.ts';
import { epochsOf, hasChanged, nextStep, ownPosition } from './next-step.ts';

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

describe('a map', () => {
  it('has changed when a bucket has another epoch, moves, or is another one', () => {
    const { spec } = map(['s0', 's1']);
    expect(hasChanged(epochsOf(spec), spec)).toBe(false);
    expect(hasChanged(epochsOf(spec), map(['s0', 's1'], 1).spec)).toBe(true);
    expect(hasChanged(epochsOf(spec), map(['s0', 's1', 's1']).spec)).toBe(true);
    expect(hasChanged({}, spec)).toBe(false);
  });
});
