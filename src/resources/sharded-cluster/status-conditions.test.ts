import { describe, expect, it } from 'vitest';
import { suspended } from '../suspension.ts';
import type { StepResult } from './model.ts';
import type { Outcome } from './plan-result.ts';
import { type ConditionFacts, conditionsOf, isNew, phaseOf, suspensionReason } from './status-conditions.ts';

const proceed: StepResult = { kind: 'continue' };
const waits: StepResult = { kind: 'wait', reason: 'RollingOut', message: 'it is being renewed', afterMs: 0 };
const fails: StepResult = { kind: 'fail', reason: 'PatroniPaused', message: 'Patroni is paused' };

function facts(
  change: Partial<ConditionFacts> & { topology?: StepResult; content?: StepResult } = {},
): ConditionFacts {
  const { topology = proceed, content = proceed, ...rest } = change;
  const outcomes: Outcome[] = [
    { track: 'identity', step: undefined, result: proceed },
    { track: 'topology', step: undefined, result: topology },
    { track: 'content', step: undefined, result: content },
  ];
  return {
    outcomes,
    readyShards: 2,
    desiredShards: 2,
    unreadyReasons: [],
    isNew: false,
    hasLostShards: false,
    missingMembers: [],
    strays: [],
    keptStrays: [],
    isLessDurable: false,
    refusedParameters: undefined,
    generation: 7,
    ...rest,
  };
}

/** Each condition as `Type=Status Reason`. */
const said = (input: ConditionFacts) =>
  conditionsOf(input).map(({ type, status, reason }) => `${type}=${status} ${reason}`);

describe('conditions', () => {
  it('of a cluster that is well', () => {
    expect(said(facts())).toEqual([
      'Ready=True AllShardsReady',
      'Progressing=False AsWanted',
      'Degraded=False AsWanted',
      'SchemaApplied=True Applied',
      'ParametersAccepted=True Accepted',
    ]);
    expect(phaseOf(facts())).toBe('Ready');
    expect(conditionsOf(facts()).every(({ observedGeneration }) => observedGeneration === 7)).toBe(true);
  });

  it('of a cluster with too few members for its durability: what commits wait for', () => {
    expect(conditionsOf(facts({ isLessDurable: true }))[0]?.message).toBe(
      '2 of 2 shards take writes; commits wait for no standby, since that needs 3 members',
    );
  });

  it('of a rollout: it goes on serving', () => {
    expect(said(facts({ topology: waits })).slice(0, 3)).toEqual([
      'Ready=True AllShardsReady',
      'Progressing=True RollingOut',
      'Degraded=False AsWanted',
    ]);
    expect(phaseOf(facts({ topology: waits }))).toBe('Updating');
  });

  it('of a rollout that is stuck: it serves, and somebody has to act', () => {
    expect(said(facts({ topology: fails })).slice(0, 3)).toEqual([
      'Ready=True AllShardsReady',
      'Progressing=False AsWanted',
      'Degraded=True PatroniPaused',
    ]);
    expect(phaseOf(facts({ topology: fails }))).toBe('Degraded');
  });

  it('of a standby that does not follow: it serves, and is short of a copy', () => {
    const input = facts({ strays: ['shop-s0-1'] });
    expect(said(input).slice(0, 3)).toEqual([
      'Ready=True AllShardsReady',
      'Progressing=False AsWanted',
      'Degraded=True MembersNotStreaming',
    ]);
    expect(phaseOf(input)).toBe('Degraded');
  });

  it('of a standby that a person has to judge: what it is, before what it is not', () => {
    const kept = 'shop-s0-1 (claim data-shop-s0-1)';
    const input = facts({ keptStrays: [kept], missingMembers: ['shop-s0-1'] });
    expect(said(input)[2]).toBe('Degraded=True MembersStuck');
    expect(conditionsOf(input)[2]?.message).toContain(kept);
    expect(phaseOf(facts({ keptStrays: [kept] }))).toBe('Degraded');
  });

  it('of a schema that failed: it is not what was wanted', () => {
    const result: StepResult = { kind: 'fail', reason: 'MigrationFailed', message: 'shard s1: no such type' };
    expect(said(facts({ content: result }))).toEqual([
      'Ready=False MigrationFailed',
      'Progressing=False AsWanted',
      'Degraded=True MigrationFailed',
      'SchemaApplied=False MigrationFailed',
      'ParametersAccepted=True Accepted',
    ]);
    expect(conditionsOf(facts({ content: result }))[3]?.message).toBe('shard s1: no such type');
  });

  it('name all failures at once', () => {
    const result: StepResult = { kind: 'fail', reason: 'MigrationFailed', message: 'no such type' };
    expect(conditionsOf(facts({ topology: fails, content: result }))[2]?.message).toBe(
      'Patroni is paused; no such type',
    );
  });

  it('of a shard without a primary', () => {
    const input = facts({
      readyShards: 1,
      unreadyReasons: ['shard s1: it has no primary yet'],
      content: waits,
    });
    expect(said(input)[0]).toBe('Ready=False ShardsNotReady');
    expect(conditionsOf(input)[0]?.message).toBe('shard s1: it has no primary yet');
    expect(phaseOf(input)).toBe('Updating');
  });

  it('of a cluster that is being made', () => {
    const input = facts({ isNew: true, content: waits });
    expect(phaseOf({ ...input, readyShards: 1 })).toBe('Creating');
    expect(phaseOf(input)).toBe('Creating');
    expect(phaseOf(facts({ isNew: true }))).toBe('Ready');
    expect(phaseOf(facts({ isNew: true, topology: fails }))).toBe('Degraded');
  });

  it('of first primaries that go home: nobody shall begin to write just then', () => {
    const result: StepResult = { kind: 'wait', reason: 'GoingHome', message: 'shard s1', afterMs: 500 };
    const outcomes: Outcome[] = [{ track: 'topology', step: 'first-homes', result }];
    expect(said(facts({ isNew: true, outcomes }))[0]).toBe('Ready=False GoingHome');
    const failed: Outcome[] = [
      { track: 'topology', step: 'first-homes', result: { ...result, reason: 'Retrying' } },
    ];
    expect(said(facts({ isNew: true, outcomes: failed }))[0]).toBe('Ready=True AllShardsReady');
  });

  it('of an outage', () => {
    const input = facts({
      readyShards: 1,
      hasLostShards: true,
      unreadyReasons: ['shard s1: it has no primary yet'],
      content: waits,
    });
    expect(said(input).slice(0, 3)).toEqual([
      'Ready=False ShardsNotReady',
      'Progressing=True RollingOut',
      'Degraded=True ShardsNotReady',
    ]);
    expect(phaseOf(input)).toBe('Degraded');
  });

  it('of a member that is away: the shards serve', () => {
    const input = facts({ missingMembers: ['shop-s0-2 (Unschedulable: no node has room)'] });
    expect(said(input).slice(0, 3)).toEqual([
      'Ready=True AllShardsReady',
      'Progressing=False AsWanted',
      'Degraded=True MembersNotReady',
    ]);
    expect(phaseOf(input)).toBe('Degraded');
  });

  it('of refused parameters', () => {
    const input = facts({ refusedParameters: 'parameter "work_mem": no' });
    expect(said(input)[2]).toBe('Degraded=True ParametersRefused');
    expect(conditionsOf(input)[4]).toMatchObject({
      status: 'False',
      message: 'parameter "work_mem": no. The servers go on with the last good parameters.',
    });
  });

  it('say that the schema was not looked at when identities were not to be had', () => {
    const outcomes: Outcome[] = [{ track: 'identity', step: 'certificates', result: waits }];
    expect(said(facts({ outcomes }))[3]).toBe('SchemaApplied=Unknown NotReached');
  });
});

describe('a cluster', () => {
  const condition = (status: 'True' | 'False') => ({
    type: 'Ready',
    status,
    reason: 'Tested',
    message: '',
    lastTransitionTime: '2026-01-01T00:00:00Z',
  });

  it.each([
    ['without a status', undefined, true],
    ['that is being made', { phase: 'Creating', conditions: [condition('False')] }, true],
    [
      'whose making goes on, and which is ready',
      { phase: 'Creating', conditions: [condition('True')] },
      false,
    ],
    ['that could not be made', { phase: 'Degraded' }, true],
    ['that fails', { phase: 'Degraded', lastGoodParameters: {}, conditions: [condition('False')] }, false],
    ['that was suspended before it was made', { phase: 'Suspended' }, true],
    ['that was ready when it was suspended', { phase: 'Suspended', conditions: [condition('True')] }, false],
    ['that is renewed', { phase: 'Updating' }, false],
  ])('%s', (_, status, expected) => {
    expect(isNew(status)).toBe(expected);
  });

  it.each([
    ['that was being made', { phase: 'Creating' }, true],
    ['that had been ready, and was not', { phase: 'Updating' }, false],
    ['that failed', { phase: 'Degraded' }, false],
  ])('%s is so after it was suspended, whatever its servers had accepted', (_, { phase }, expected) => {
    const before = { phase, lastGoodParameters: {}, conditions: [condition('False')] };
    const once = { ...before, ...suspended(before, 1, new Date(0), suspensionReason(before)) };
    const again = { ...once, ...suspended(once, 2, new Date(1_000), suspensionReason(once)) };
    expect([once, again].map(isNew)).toEqual([expected, expected]);
    expect(again.phase).toBe('Suspended');
  });
});
