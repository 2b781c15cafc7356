import { expect, it } from 'vitest';
import type { ConversionStep } from '../../postgres/conversion/context.ts';
import type { Conversion, Phase } from '../../sharding/conversion/model.ts';
import type { ConversionStepKind } from '../../sharding/conversion/plan.ts';
import { sequelOf } from './sequel.ts';

const going = { kind: 'going' };
const done: ConversionStep = { kind: 'done' };
const full: ConversionStep = { kind: 'waiting', reason: 'DiskFull', message: 'No space left' };
const locked: ConversionStep = { kind: 'waiting', reason: 'Locked', message: 'lock timeout' };
const changed: ConversionStep = { kind: 'changed', reason: 'Rewritten', message: 'the table was rewritten' };

/** What follows when the conversion was in that phase, or had not begun. */
function sequel(kind: ConversionStepKind, phase: Phase | undefined, result: ConversionStep) {
  const conversion = phase === undefined ? undefined : ({ phase } as Conversion);
  const tried = { kind, group: 'customer', shard: 's0', volume: { bytes: 2 ** 30 }, conversion };
  return sequelOf(tried, result);
}

it.each<[string, ConversionStepKind, Phase | undefined, ConversionStep, object, boolean]>([
  ['is done', 'copy', 'copying', done, going, false],
  [
    'keeps the plain tables in step',
    'follow',
    'settled',
    done,
    { kind: 'waiting', reason: 'Reversible' },
    false,
  ],
  ['waits for a lock', 'switch', 'verified', locked, { ...locked }, false],
  ['finds a full disk at first', 'stage', undefined, full, { kind: 'waiting', reason: 'DiskFull' }, false],
  ['fills a disk before the switch', 'copy', 'copying', full, { kind: 'refused', reason: 'DiskFull' }, true],
  [
    'finds a full disk after the switch',
    'own',
    'switched',
    full,
    {
      kind: 'waiting',
      reason: 'DiskFull',
      message: expect.stringMatching(/^the disk of shard s0 is full, .* raise spec\.storage\.size$/),
    },
    false,
  ],
  ['finds other tables', 'copy', 'copying', changed, going, true],
  ['cannot follow the tables', 'follow', 'settled', changed, going, true],
])('a step that %s', (_, kind, phase, result, outcome, tidies) => {
  expect(sequel(kind, phase, result)).toMatchObject({ outcome, tidies });
});

it.each<[Phase, string, RegExp]>([
  [
    'copying',
    'ConversionRestarted',
    /^the conversion of group "customer" begins again: the table was rewritten$/,
  ],
  ['settled', 'ConversionKept', /cannot be taken back any more: the table was rewritten$/],
])('a change that comes in the phase %s is told as %s', (phase, reason, note) => {
  const { warning } = sequel('follow', phase, changed);
  expect(warning).toEqual({ reason, note: expect.stringMatching(note) });
});

it('a step that goes as it should is not told', () => {
  expect(sequel('copy', 'copying', done)).not.toHaveProperty('warning');
});
