import { describe, expect, it } from 'vitest';
import type { Conversion } from '../../sharding/conversion/model.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { heldByConversion } from '../sharded-cluster/reversible.ts';
import { type GroupReport, statusOf } from './status.ts';

const now = new Date('2026-01-01T00:00:00Z');
const conversion: Conversion = {
  group: 'customer',
  phase: 'copying',
  layout: {
    name: 'customer',
    strategy: 'hash',
    tables: [],
    buckets: 4,
    bounds: [],
    defaultBucket: false,
    regions: [],
    tenants: [],
  },
  epoch: null,
  switchedAtMs: null,
  fenceMs: null,
  tables: [
    { name: 'orders', filenode: '1', blocks: 300, next: 100 },
    { name: 'lines', filenode: '2', blocks: 100, next: 0 },
  ],
};
const switched = { ...conversion, phase: 'settled' as const, switchedAtMs: now.getTime(), fenceMs: 12.3 };

function status(report: Partial<GroupReport>) {
  const full: GroupReport = {
    group: 'customer',
    shard: 's0',
    conversion,
    outcome: { kind: 'going' },
    ...report,
  };
  return statusOf(
    { metadata: { name: 'shop', namespace: 'n', uid: 'u', generation: 3 } },
    [full],
    60_000,
    now,
  );
}

describe('the status of conversions', () => {
  it('is empty when there are none', () => {
    expect(statusOf({ metadata: { name: 'shop', namespace: 'n', uid: 'u' } }, [], 0, now)).toEqual({});
  });

  it('tells how far one is', () => {
    expect(status({})).toMatchObject({
      conversions: [{ group: 'customer', shard: 's0', phase: 'copying', progress: '25 %' }],
      conditions: [{ type: 'Converted', status: 'False', reason: 'Converting', observedGeneration: 3 }],
    });
  });

  it('tells what one waits for', () => {
    const outcome = { kind: 'waiting', reason: 'OldSnapshot', message: 'a transaction has to end' } as const;
    expect(status({ outcome }).conversions).toMatchObject([{ phase: 'copying', reason: 'OldSnapshot' }]);
  });

  it('tells what to write instead of one that is refused', () => {
    const outcome = { kind: 'refused', reason: 'Dependent', message: 'drop the view' } as const;
    expect(status({ shard: undefined, conversion: undefined, outcome })).toMatchObject({
      conversions: [{ group: 'customer', phase: 'refused', message: 'drop the view' }],
      conditions: [{ status: 'False', reason: 'Dependent', message: 'drop the view' }],
    });
  });

  it('tells until when one can be taken back, and holds its buckets so long', () => {
    const { conversions, conditions } = status({ conversion: switched });
    expect(conversions).toMatchObject([
      { fenceMs: 13, switchedAt: '2026-01-01T00:00:00.000Z', reversibleUntil: '2026-01-01T00:01:00.000Z' },
    ]);
    expect(conditions).toMatchObject([{ status: 'True', reason: 'Converted' }]);
    const cluster: Pick<ShardedCluster, 'status'> = { status: { conversions: conversions ?? [] } };
    expect(heldByConversion(cluster, 'customer')).toContain('"conversion: { retention: 0s }"');
    expect(heldByConversion(cluster, 'other')).toBeUndefined();
    const early = { status: { conversions: status({}).conversions ?? [] } };
    expect(heldByConversion(early, 'customer')).toBe('its tables are being converted on this shard');
  });
});
