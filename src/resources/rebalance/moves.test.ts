import { describe, expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import type { ShardMove } from '../shard-move/model.ts';
import { moveFacts, shardMoveFor } from './moves.ts';
import { sketchCluster } from './sketch.ts';

const MiB = 1024 ** 2;

const customer7 = { group: 'customer', buckets: [7], to: 's2' };

function shardMove(status?: ShardMove['status'], spec: object = customer7): ShardMove {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name: 'm', namespace: 'test', uid: 'uid', creationTimestamp: '2026-01-09T11:00:00Z' },
    spec: shardMoveSpec.parse({ cluster: 'shop', ...spec }),
    ...(status === undefined ? {} : { status }),
  };
}

describe('a ShardMove, as the rebalancer sees it', () => {
  it.each(['preflight', 'copy', 'switch', 'finish'] as const)('runs in the phase %s', (phase) => {
    const facts = moveFacts(shardMove({ phase, from: 's1' }));
    expect(facts).toEqual({
      name: 'm',
      group: 'customer',
      buckets: [{ group: 'customer', id: 7, from: 's1', to: 's2' }],
      isRunning: true,
    });
  });

  it('tells of the window that it waits for', () => {
    expect(moveFacts(shardMove(), 'it is closed')).toMatchObject({ closedWindow: 'it is closed' });
    expect(moveFacts(shardMove({ phase: 'done' }), 'it is closed')).not.toHaveProperty('closedWindow');
  });

  it('runs before its controller has seen it', () => {
    expect(moveFacts(shardMove())).toMatchObject({ isRunning: true });
  });

  it('has moved its bucket when only the retention is left, and tells its rate if it was big', () => {
    const finishedAt = '2026-01-09T11:30:00Z';
    const phases = [{ name: 'copy', startedAt: '2026-01-09T11:29:56Z' }];
    const big = moveFacts(shardMove({ phase: 'retain', finishedAt, phases, bytes: 100 * MiB }));
    expect(big).toMatchObject({
      isRunning: false,
      movedAtMs: Date.parse(finishedAt),
      tookMs: 4_000,
      bytesPerSecond: 25 * MiB,
    });
    const small = moveFacts(shardMove({ phase: 'done', finishedAt, phases, bytes: MiB }));
    expect(small.bytesPerSecond).toBeUndefined();
  });

  it.each([
    ['24h', true],
    ['0s', undefined],
  ])('that the operator made keeps its shard for a retention of %s: %s', (retention, isRetained) => {
    const moved = shardMove({ phase: 'retain' }, { ...customer7, retention });
    const labels = { 'app.kubernetes.io/managed-by': 'herdsman' };
    expect(moveFacts({ ...moved, metadata: { ...moved.metadata, labels } }).isRetained).toBe(isRetained);
  });

  it.each([
    ['failed', undefined],
    ['cancelled', true],
  ] as const)('has not moved it when it is %s', (phase, isCancelled) => {
    const facts = moveFacts(shardMove({ phase, finishedAt: '2026-01-09T11:30:00Z' }));
    expect(facts).toMatchObject({ isRunning: false, failedAtMs: Date.parse('2026-01-09T11:30:00Z') });
    expect(facts.isCancelled).toBe(isCancelled);
    expect(facts.movedAtMs).toBeUndefined();
  });

  it('tells why it failed', () => {
    const lastEnding = { reason: 'NoRoom', message: 'no room on s2', next: 'failed' as const };
    expect(moveFacts(shardMove({ phase: 'failed', lastEnding })).failure).toBe('no room on s2');
    expect(moveFacts(shardMove({ phase: 'failed', message: 'no such bucket' })).failure).toBe(
      'no such bucket',
    );
    expect(moveFacts(shardMove({ phase: 'copy', message: 'copies' })).failure).toBeUndefined();
  });

  it.each([
    ['move', undefined, undefined],
    ['split', true, undefined],
    ['merge', true, true],
  ])('that asks for a %s changes which buckets there are: %s', (operation, isReshape, isMerge) => {
    const buckets = operation === 'merge' ? [7, 8] : [7];
    const facts = moveFacts(shardMove({}, { ...customer7, operation, buckets }));
    expect(facts.isReshape).toBe(isReshape);
    expect(facts.isMerge).toBe(isMerge);
  });

  it('is of its group, too, when a tenant was not isolated, and of which bucket was never asked', () => {
    const isolate = { operation: 'isolate', group: 'accounts', tenant: 'acme', to: 's2' };
    expect(moveFacts(shardMove({ phase: 'failed', finishedAt: '2026-01-09T11:30:00Z' }, isolate))).toEqual({
      name: 'm',
      group: 'accounts',
      buckets: [],
      isRunning: false,
      isReshape: true,
      tenant: 'acme',
      failedAtMs: Date.parse('2026-01-09T11:30:00Z'),
    });
  });

  it('is made for a planned move; a drain leaves nothing on the shard that goes', () => {
    const planned = { name: 'shop-customer-b0007-e1', group: 'customer', id: 7, from: 's0', to: 's2' };
    const balance = shardMoveFor(sketchCluster({}), { ...planned, reason: 'balance' });
    expect(balance).toMatchObject({
      metadata: {
        name: 'shop-customer-b0007-e1',
        namespace: 'test',
        labels: { 'herdsman.dev/cluster': 'shop' },
        annotations: { 'herdsman.dev/reason': 'balance' },
        ownerReferences: [{ kind: 'ShardedCluster', name: 'shop' }],
      },
      spec: { cluster: 'shop', group: 'customer', buckets: [7], from: 's0', to: 's2' },
    });
    expect(shardMoveSpec.parse(balance.spec).retention).toBe('24h');
    const drain = shardMoveFor(sketchCluster({}), { ...planned, reason: 'drain' });
    expect(shardMoveSpec.parse(drain.spec).retention).toBe('0s');
  });
});
