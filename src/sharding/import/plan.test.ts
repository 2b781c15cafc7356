import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bytesBetween,
  hasReached,
  type ImportPhase,
  type ImportRecord,
  isImporting,
  type ShardFacts,
  type SourceFacts,
} from './model.ts';
import { drainMs, type ImportPlan, type ImportView, maxLagBytes, planImport } from './plan.ts';
import { here, inStep, shard, view, wanted } from './test-support/scenes.ts';

function record(phase: ImportPhase, rest: Partial<ImportRecord> = {}): ImportRecord {
  return {
    name: 'herdsman_import_1',
    phase,
    tables: ['orders'],
    source: wanted,
    connection: 'hash',
    subscription: 4711,
    attempt: 1,
    startedAtMs: 0,
    fencedAtMs: phase === 'following' ? null : 1_000,
    switchedAtMs: null,
    fenceLsn: '0/1000',
    failure: null,
    ...rest,
  };
}

const unreachable: ImportView['source'] = {
  state: 'unknown',
  reason: 'SourceUnreachable',
  message: 'no answer',
};
const at = (phase: ImportPhase, rest: Partial<ImportRecord> = {}, more: Partial<ShardFacts> = {}) =>
  shard({ record: record(phase, rest), ...more });

/** The step, or the reason. */
function word(plan: ImportPlan): string {
  if (plan.kind === 'none') return 'none';
  return plan.kind === 'step' ? plan.step : plan.reason;
}

describe('the next step of an import', () => {
  it.each([
    ['is as large as was asked for', { bytes: 199 }, /: raise spec.storage.size$/],
    ['still grows', { bytes: 199, growsTo: '200' }, /: it waits until the volume has grown to 200$/],
  ])('waits for room in a volume that %s', (_, volume, message) => {
    const small = view({ volume }, { slot: undefined });
    expect(planImport(small)).toMatchObject({ message: expect.stringMatching(message) });
  });

  it.each<[string, ImportView, string]>([
    ['nothing is wanted', view({ wanted: undefined }), 'none'],
    ['the shard is silent', view({ shard: undefined }), 'PrimaryUnknown'],
    ['all is well', view({}, { slot: undefined, isPublished: false }), 'prepare'],
    ['the volume is too small', view({ volume: { bytes: 199 } }, { slot: undefined }), 'VolumeTooSmall'],
    ['the server is silent', view({ source: unreachable }), 'SourceUnreachable'],
    ['prepared', view({ shard: at('prepared') }, { slot: undefined, isPublished: false }), 'publish'],
    ['prepared, with a slot that is lost', view({ shard: at('prepared') }, { slot: 'lost' }), 'publish'],
    ['prepared again', view({ shard: at('prepared', { connection: null }) }), 'publish'],
    ['prepared, and published', view({ shard: at('prepared') }), 'subscribe'],
    ['copying', view({ shard: at('copying', {}, { subscription: { ...inStep, ready: [] } }) }), 'Copying'],
    ['copied', view({ shard: at('copying') }), 'follow'],
    [
      'copying, and the server is silent',
      view({ source: unreachable, shard: at('copying') }),
      'SourceUnreachable',
    ],
    ['copying, and the slot is gone', view({ shard: at('copying') }, { slot: undefined }), 'restart'],
    ['in step, and the slot is lost', view({ shard: at('following') }, { slot: 'lost' }), 'restart'],
    [
      'in step, and the publication is gone',
      view({ shard: at('following') }, { isPublished: false }),
      'restart',
    ],
    [
      'in step, and the subscription is gone',
      view({ shard: at('following', {}, { subscription: undefined }) }),
      'restart',
    ],
    ['in step, with another password', view({ shard: at('following'), connection: 'other' }), 'reconnect'],
    [
      'in step, and a column is new',
      view({ shard: at('following', {}, { tables: [here({ columns: [] })] }) }),
      'ColumnDiffers',
    ],
    [
      'in step, and nobody has said when',
      view({ shard: at('following'), wanted: { ...wanted, cutover: 'manual' } }),
      'AwaitingCutover',
    ],
    [
      'fenced by one that died, and not wanted any more',
      view({ shard: at('following'), wanted: { ...wanted, cutover: 'manual' } }, { isFenced: true }),
      'unfence',
    ],
    [
      'far behind',
      view({ shard: at('following') }, { lsn: `0/${(0x1001 + maxLagBytes).toString(16)}` }),
      'CatchingUp',
    ],
    [
      'not connected',
      view({ shard: at('following', {}, { subscription: { ...inStep, receivedLsn: null } }) }),
      'CatchingUp',
    ],
    [
      'come, and not applied',
      view(
        { shard: at('following', {}, { subscription: { ...inStep, receivedLsn: '1/0' } }) },
        { confirmedLsn: '0/0', lsn: `0/${(1 + maxLagBytes).toString(16)}` },
      ),
      'CatchingUp',
    ],
    ['in step', view({ shard: at('following') }), 'fence'],
    [
      'in step, and lately fenced in vain',
      view({ shard: at('following', { fencedAtMs: 1_000 }), nowMs: 300_000 }),
      'NotDrained',
    ],
    [
      'in step, and once fenced in vain',
      view({ shard: at('following', { fencedAtMs: 1_000 }), nowMs: 340_000 }),
      'fence',
    ],
    [
      'fenced, and not all is there',
      view({ shard: at('fenced', { fenceLsn: '0/1001' }) }, { isFenced: true }),
      'Draining',
    ],
    [
      'fenced for too long',
      view({ shard: at('fenced', { fenceLsn: '0/1001' }), nowMs: 1_000 + drainMs }, { isFenced: true }),
      'unfence',
    ],
    [
      'fenced, and a table is copied',
      view({ shard: at('fenced', {}, { subscription: { ...inStep, total: 2 } }) }, { isFenced: true }),
      'Draining',
    ],
    ['fenced, and all is there', view({ shard: at('fenced') }, { isFenced: true }), 'verify'],
    ['fenced, and the fence is gone', view({ shard: at('fenced') }), 'unfence'],
    ['verified', view({ shard: at('verified') }, { isFenced: true }), 'switch'],
    ['verified, and the fence is gone', view({ shard: at('verified') }), 'restart'],
    ['verified, and the server is silent', view({ source: unreachable, shard: at('verified') }), 'switch'],
    ['different', view({ shard: at('failed') }, { isFenced: true }), 'unfence'],
    ['different, and writes go on', view({ shard: at('failed') }), 'VerificationFailed'],
    [
      'different, and told to begin again',
      view({ shard: at('failed'), wanted: { ...wanted, cutover: 'manual' } }),
      'restart',
    ],
    ['switched', view({ shard: at('switched') }, { isFenced: true }), 'release'],
    [
      'switched, and the server is silent',
      view({ source: unreachable, shard: at('switched') }),
      'LeftBehind',
    ],
    ['done', view({ shard: at('done') }), 'none'],
    ['done and removed', view({ wanted: undefined, shard: at('done') }), 'forget'],
    ['given up and withdrawn', view({ wanted: undefined, shard: at('withdrawing') }), 'release'],
    [
      'given up, and the server is silent',
      view({ wanted: undefined, source: unreachable, shard: at('withdrawing') }),
      'LeftBehind',
    ],
  ])('%s', (_, seen, expected) => {
    expect(word(planImport(seen))).toBe(expected);
  });

  it.each<ImportPhase>(['prepared', 'copying', 'following', 'fenced', 'verified', 'failed'])(
    'is to withdraw when it is given up before the switch: %s',
    (phase) => {
      expect(word(planImport(view({ wanted: undefined, shard: at(phase) })))).toBe('withdraw');
      expect(word(planImport(view({ wanted: undefined, shard: at(phase), source: unreachable })))).toBe(
        'withdraw',
      );
    },
  );

  it('never lets the cluster take over before everything was compared, nor gives anything back after', () => {
    const phases: ImportPhase[] = [
      'prepared',
      'copying',
      'following',
      'fenced',
      'verified',
      'switched',
      'done',
      'failed',
      'withdrawing',
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...phases),
        fc.boolean(),
        fc.constantFrom<SourceFacts['slot']>('present', 'lost', undefined),
        fc.boolean(),
        fc.constantFrom('manual' as const, 'auto' as const, undefined),
        fc.constantFrom('0/0', '0/1000', '1/0', null),
        (phase, isFenced, slot, isPublished, cutover, receivedLsn) => {
          const seen = view(
            {
              shard: at(phase, {}, { subscription: { ...inStep, receivedLsn } }),
              wanted: cutover === undefined ? undefined : { ...wanted, cutover },
            },
            { isFenced, slot, isPublished },
          );
          const step = word(planImport(seen));
          if (step === 'switch') expect(phase).toBe('verified');
          if (step === 'verify') expect([phase, hasReached(receivedLsn, '0/1000')]).toEqual(['fenced', true]);
          if (['switched', 'done'].includes(phase)) expect(['release', 'forget', 'none']).toContain(step);
          if (step === 'fence') expect([phase, cutover]).toEqual(['following', 'auto']);
        },
      ),
    );
  });

  it('tells by hand what to do at a server that is gone', () => {
    const plan = planImport(view({ source: unreachable, shard: at('switched') }));
    expect(plan).toMatchObject({
      message: expect.stringContaining("pg_drop_replication_slot('herdsman_import_1')"),
    });
  });
});

describe('places in the WAL', () => {
  it('are compared as numbers', () => {
    expect(hasReached('1/0', '0/FFFFFFFF')).toBe(true);
    expect(hasReached('0/9', '0/10')).toBe(false);
    expect(hasReached(null, '0/1')).toBe(false);
    expect(bytesBetween('0/FFFFFFFF', '1/0')).toBe(1);
    expect(bytesBetween('1/0', '0/1')).toBe(0);
    expect(bytesBetween(null, '0/1')).toBeUndefined();
  });
});

describe('whether tables are let be', () => {
  it.each([
    [undefined, undefined, false],
    [wanted, undefined, true],
    [wanted, 'copying', true],
    [undefined, 'copying', true],
    [wanted, 'switched', false],
    [wanted, 'done', false],
    [undefined, 'withdrawing', false],
  ])('%#', (spec, phase, expected) => {
    expect(isImporting(spec, phase)).toBe(expected);
  });
});
