import { describe, expect, it } from 'vitest';
import { placesOf } from './observe-cache.ts';

type Cluster = Parameters<typeof placesOf>[1];

function cluster(
  count: number,
  told?: { readonly desired: number; readonly names: readonly string[] },
): Cluster {
  const shards =
    told === undefined ? undefined : { desired: told.desired, items: told.names.map((name) => ({ name })) };
  return { spec: { shards: { count } }, ...(shards === undefined ? {} : { status: { shards } }) } as Cluster;
}

function set(shards?: readonly string[]): Parameters<typeof placesOf>[0] {
  return { spec: { shards } } as Parameters<typeof placesOf>[0];
}

describe('the places of a set', () => {
  it.each([
    ['all shards', set(), cluster(2, { desired: 2, names: ['s0', 's1'] }), ['s0', 's1'], ['s0', 's1']],
    ['those that it names', set(['s1']), cluster(2, { desired: 2, names: ['s0', 's1'] }), ['s1'], ['s1']],
    ['with one that is to come', set(), cluster(2, { desired: 2, names: ['s0'] }), ['s0', 's1'], ['s0']],
    ['without one that shall go', set(), cluster(1, { desired: 1, names: ['s0', 's1'] }), ['s0'], ['s0']],
    [
      'as autoscaling has them',
      set(),
      cluster(1, { desired: 2, names: ['s0', 's1'] }),
      ['s0', 's1'],
      ['s0', 's1'],
    ],
    ['in a cluster that has just come back', set(), cluster(2), ['s0', 's1'], []],
  ])('are %s', (_, asked, present, wanted, told) => {
    expect(placesOf(asked, present)).toEqual({ wanted, told });
  });
});
