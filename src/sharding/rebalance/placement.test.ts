import { describe, expect, it } from 'vitest';
import type { Table } from '../../api/v1alpha1/table.ts';
import { layoutOf } from '../layout.ts';
import { initialMap } from '../map.ts';
import { isOpen } from './move-window.ts';
import { placementOf } from './placement.ts';

const tables: Table[] = [
  {
    name: 'weather',
    strategy: 'geographic',
    key: 'origin',
    regions: [
      { name: 'east', values: ['JFK'], shards: ['s1'] },
      { name: 'west', values: ['SFO'], zones: ['b'] },
      { name: 'rest', values: ['DEN'] },
    ],
  },
  {
    name: 'tenants',
    strategy: 'directory',
    key: 'id',
    buckets: 1,
    tenants: [{ value: 'acme', shard: 's1' }, { value: 'b' }],
  },
  { name: 'logs', strategy: 'range', key: 'at', bounds: [{ to: '5', shard: 's0' }, { from: '5' }] },
  { name: 'users', strategy: 'hash', key: 'id', buckets: 1 },
];
const shards = [
  { name: 's0', zone: 'a' },
  { name: 's1', zone: 'b' },
  { name: 's2', zone: 'b' },
];

describe('the place of a bucket', () => {
  const layout = layoutOf(tables);
  const map = initialMap('test', layout, shards);
  const places = (group: string) => {
    const found = map.groups.find((candidate) => candidate.name === group);
    return (found?.buckets ?? []).map((bucket) => found && placementOf(bucket, found, layout, shards));
  };

  it('is limited by the shards or zones of a region', () => {
    expect(places('weather')).toEqual([
      { allowed: ['s1'], isPinned: false },
      { allowed: ['s1', 's2'], isPinned: false },
      { isPinned: false },
    ]);
  });

  it('is kept where a tenant or range was told to start, and free elsewhere', () => {
    expect(places('tenants')).toMatchObject([{ isPinned: false }, { isPinned: true }, { isPinned: false }]);
    expect(places('logs')).toEqual([{ isPinned: true }, { isPinned: false }]);
    expect(places('users')).toEqual([{ isPinned: false }]);
    const group = map.groups.find((candidate) => candidate.name === 'tenants');
    const acme = group?.buckets[1];
    if (group === undefined || acme === undefined) throw new Error('no bucket of acme');
    expect(placementOf({ ...acme, shard: 's2' }, group, layout, shards)).toMatchObject({ isPinned: false });
  });
});

describe('the window of moves', () => {
  const night = { start: '22:00', end: '04:30', days: ['Fri' as const] };

  it.each([
    ['2026-01-09T21:59:59Z', false],
    ['2026-01-09T22:00:00Z', true],
    ['2026-01-10T04:29:59Z', true],
    ['2026-01-10T04:30:00Z', false],
    ['2026-01-10T23:00:00Z', false],
    ['2026-01-09T03:00:00Z', false],
  ])('opens on the evening of its day and closes in the morning: %s', (time, open) => {
    expect(isOpen(night, new Date(time))).toBe(open);
  });

  it('is always open when there is none, or when it is a whole day', () => {
    expect(isOpen(undefined, new Date())).toBe(true);
    expect(isOpen({ start: '00:00', end: '00:00' }, new Date('2026-01-09T13:00:00Z'))).toBe(true);
  });
});
