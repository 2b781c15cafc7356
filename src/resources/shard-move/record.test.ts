import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shardMoveSpec, shardMoveStatus } from '../../api/v1alpha1/shard-move.ts';
import { firstRecord, type MoveRecord, type Phase } from '../../sharding/move/model.ts';
import type { ShardMove } from './model.ts';
import { moveOf, recordOf, withRecord } from './record.ts';

const now = new Date('2026-01-09T12:00:00.123Z');
const phases: readonly Phase[] = [
  'preflight',
  'prepare',
  'copy',
  'catch-up',
  'index',
  'verify',
  'announce',
  'switch',
  'finish',
  'retain',
  'done',
  'failed',
  'cancelled',
];

function shardMove(more: Partial<ShardMove['metadata']> = {}, spec: object = {}): ShardMove {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name: 'mine', namespace: 'test', uid: '1a2b3c4d-0000-4000-8000-000000000000', ...more },
    spec: shardMoveSpec.parse({ cluster: 'shop', group: 'customer', buckets: [7], to: 's2', ...spec }),
  };
}

describe('the record of a move', () => {
  const ending = fc.record({
    reason: fc.string({ minLength: 1 }),
    message: fc.string(),
    next: fc.constantFrom('switch' as const, 'copy' as const, 'failed' as const, 'cancelled' as const),
  });
  const moment = fc.integer({ min: 0, max: 4_000_000_000_000 });
  const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
  const records = fc
    .record({
      phase: fc.constantFrom(...phases),
      attempt: fc.nat(),
      copy: fc.nat(),
      failures: fc.nat(),
      fenceTries: fc.nat(),
      timelines: optional(fc.record({ source: fc.nat(), target: fc.nat() })),
      switchedAt: optional(moment),
      notBefore: optional(moment),
      finishedAt: optional(moment),
      ending: optional(ending),
      lastEnding: optional(ending),
    })
    .map((record) => JSON.parse(JSON.stringify(record)) as MoveRecord);

  it('comes back from the status as it was written, whatever was there before', () => {
    fc.assert(
      fc.property(records, records, (earlier, record) => {
        const before = withRecord({ message: 'kept', bytes: 5 }, earlier, now);
        const status = withRecord(before, record, now);
        expect(shardMoveStatus.parse(status)).toEqual(status);
        const { finishedAt: _, ...expected } = record;
        const { finishedAt, ...read } = recordOf(JSON.parse(JSON.stringify(status)));
        expect(read).toEqual(expected);
        if (record.finishedAt !== undefined) expect(finishedAt).toBe(record.finishedAt);
        expect(status).toMatchObject({ message: 'kept', bytes: 5 });
      }),
    );
  });

  it('of a move that has not begun is the first', () => {
    expect(recordOf(undefined)).toEqual(firstRecord);
    expect(recordOf({ from: 's0', message: 'waiting' })).toEqual(firstRecord);
  });

  it('tells when each phase began, and when it was over', () => {
    const copying = withRecord(undefined, { ...firstRecord, phase: 'copy' }, now);
    const again = withRecord(
      copying,
      { ...firstRecord, phase: 'copy', copy: 2 },
      new Date('2026-01-09T13:00:00Z'),
    );
    expect(again.phases).toEqual([{ name: 'copy', startedAt: now.toISOString() }]);
    const failed = withRecord(again, { ...firstRecord, phase: 'failed' }, now);
    expect(failed.finishedAt).toBe(now.toISOString());
    expect(withRecord(failed, { ...firstRecord, phase: 'failed' }, new Date()).finishedAt).toBe(
      failed.finishedAt,
    );
  });
});

describe('a move', () => {
  it('has a name in the map that no namesake gets', () => {
    const move = moveOf({ ...shardMove(), status: { parents: [{ id: 7 }] } }, 's0');
    expect(move).toMatchObject({
      key: 'mine.1a2b3c4d',
      id: '1a2b3c4d',
      group: 'customer',
      parents: [{ id: 7 }],
      children: [{ id: 7 }],
      from: 's0',
      to: 's2',
    });
    expect(move).toMatchObject({ verify: 'full', cancel: false, retentionMs: 86_400_000 });
  });

  it('ends when it is cancelled or deleted; nothing is kept for a deleted one', () => {
    expect(moveOf(shardMove({}, { cancel: true }), 's0')).toMatchObject({
      cancel: true,
      retentionMs: 86_400_000,
    });
    expect(moveOf(shardMove({ deletionTimestamp: now.toISOString() }), 's0')).toMatchObject({
      cancel: true,
      retentionMs: 0,
    });
  });
});
