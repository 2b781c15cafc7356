import { describe, expect, it } from 'vitest';
import type { ObservedShard, PlanInput } from '../model.ts';
import { type MemberSketch, sketchShard } from '../test-support/sketch-shard.ts';
import { emptyWorld, now, observing, shardedCluster } from '../test-support/world.ts';
import { firstHomes, homeZones } from './home-zone.ts';

const minutes = (count: number) => new Date(now.getTime() - count * 60_000).toISOString();

/** Members in zones a, b and c; member 0 leads. The home zone is b. */
function world(
  change: readonly MemberSketch[] = [{}, {}, {}],
  { readySince = minutes(10), ...options }: { readySince?: string; leader?: number; paused?: boolean } = {},
): PlanInput {
  const shard = sketchShard(
    change.map((sketch, ordinal) => ({ zone: 'abc'.charAt(ordinal), ...sketch })),
    options,
  );
  const members = shard.members.map((member): ObservedShard['members'][number] => {
    if (member.pod === undefined) return member;
    const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime: readySince }];
    return { ...member, pod: { ...member.pod, status: { ...member.pod.status, conditions } } };
  });
  const cluster = shardedCluster({ shards: { count: 1, zones: ['b'] } });
  return observing(emptyWorld(cluster), { shards: [{ ...shard, members }] });
}

describe('home zones', () => {
  it('get their primary back by a planned switchover', () => {
    expect(homeZones(world())).toMatchObject({
      kind: 'wait',
      reason: 'GoingHome',
      actions: [{ kind: 'switchover', shard: 's0', leader: 'shop-s0-0', candidate: 'shop-s0-1' }],
    });
  });

  it.each([
    ['the primary is at home', world([{}, {}, {}], { leader: 1 })],
    ['a member is not ready', world([{}, {}, { ready: false }])],
    ['the member at home is not in the synchronous set', world([{}, { facts: { sync: false } }, {}])],
    ['the member at home lags', world([{}, { facts: { lagBytes: 1e9 } }, {}])],
    ['the member at home has not been ready for long', world([{}, {}, {}], { readySince: minutes(1) })],
    ['Patroni is paused', world([{}, {}, {}], { paused: true })],
    ['nobody leads', world([{}, {}, {}], { leader: 7 })],
    ['no member is at home', world([{}, { zone: 'c' }, {}])],
  ])('are left when %s', (_, input) => {
    expect(homeZones(input)).toEqual({ kind: 'continue' });
  });

  it('wait until no bucket leaves or reaches the shard', () => {
    expect(homeZones(observing(world(), { movingShards: ['s0', 's1'] }))).toEqual({ kind: 'continue' });
    expect(homeZones(observing(world(), { movingShards: ['s1', 's2'] })).actions).toHaveLength(1);
  });

  it('mean nothing when there are none, or nothing is known', () => {
    const { cluster, ...rest } = world();
    expect(homeZones({ ...rest, cluster: shardedCluster() })).toEqual({ kind: 'continue' });
    const shards = rest.observed.shards.map((shard) => ({ ...shard, group: { state: 'absent' } as const }));
    expect(homeZones(observing({ ...rest, cluster }, { shards }))).toEqual({ kind: 'continue' });
  });
});

describe('home zones of a new cluster', () => {
  const fresh = { readySince: minutes(0) };
  const switchover = { kind: 'switchover', shard: 's0', leader: 'shop-s0-0', candidate: 'shop-s0-1' };

  it('get their primary as soon as commits would survive it', () => {
    expect(firstHomes(world([{}, {}, {}], fresh))).toMatchObject({
      kind: 'wait',
      reason: 'GoingHome',
      actions: [switchover],
    });
    // A member that has no server yet is not waited for.
    expect(firstHomes(world([{}, {}, { missing: true, facts: 'unknown' }], fresh)).actions).toEqual([
      switchover,
    ]);
  });

  it.each([
    ['the member at home is not in the synchronous set', [{}, { facts: { sync: false } }, {}]],
    ['nobody is in the synchronous set', [{}, { facts: { sync: false } }, { facts: { sync: false } }]],
    ['the member at home is not ready', [{}, { ready: false }, {}]],
    ['another member is still cloning', [{}, {}, { facts: { state: 'creating replica', sync: false } }]],
    ['there was a failover already', [{ facts: { timeline: 2 } }, {}, {}]],
    ['no member is at home', [{}, { zone: 'c' }, {}]],
  ] satisfies [string, MemberSketch[]][])('are left when %s', (_, sketches) => {
    expect(firstHomes(world(sketches, fresh))).toEqual({ kind: 'continue' });
  });

  it('wait for steadiness from the first Ready on', () => {
    const { cluster, ...rest } = world([{}, {}, {}], fresh);
    const ready = { ...rest, cluster: { ...cluster, status: { phase: 'Ready' } } };
    expect(firstHomes(ready)).toEqual({ kind: 'continue' });
    const creating = { ...rest, cluster: { ...cluster, status: { phase: 'Creating' } } };
    expect(firstHomes(creating).actions).toHaveLength(1);
  });

  it('are those of a shard that joins, until buckets come', () => {
    const { cluster, ...rest } = world([{}, {}, {}], fresh);
    const input = { ...rest, cluster: { ...cluster, status: { phase: 'Ready' } } };
    const owned = (owner: string) => observing(input, { map: mapOf(owner) });
    expect(firstHomes(owned('s1')).actions).toEqual([switchover]);
    expect(firstHomes(owned('s0'))).toEqual({ kind: 'continue' });
    expect(firstHomes(observing(owned('s1'), { movingShards: ['s0'] }))).toEqual({ kind: 'continue' });
  });
});

/** A map of one group, all of one shard. */
function mapOf(shard: string): PlanInput['observed']['map'] {
  const groups = [{ name: 'customer', strategy: 'hash' as const, buckets: [{ id: 0, shard, epoch: 1 }] }];
  const spec = { cluster: 'shop', epoch: 1, groups };
  const object = { apiVersion: 'herdsman.dev/v1alpha1', kind: 'ShardMap', metadata: { name: 'shop' } };
  return { state: 'present', value: { ...object, spec } };
}
