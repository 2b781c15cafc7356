import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { shardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { MemberFacts, PlanInput } from './model.ts';
import { statusOf } from './status.ts';
import { parametersOf, planOf, settled } from './test-support/advance.ts';
import { everyStrategy } from './test-support/scenes.ts';
import {
  emptyWorld,
  now,
  shardedCluster,
  shardOf,
  wanting,
  withFacts,
  withShard,
} from './test-support/world.ts';

let world: PlanInput;
beforeAll(async () => {
  world = await settled(emptyWorld(shardedCluster(everyStrategy)));
});

const status = (input: PlanInput) => statusOf(input, planOf(input).outcomes, parametersOf(input));

function withMember(input: PlanInput, member: string, change: Partial<MemberFacts>): PlanInput {
  const { group } = shardOf(input, 's0');
  const before = group.state === 'present' ? group.value.members.get(member) : undefined;
  if (group.state !== 'present' || before === undefined) throw new Error('no such member');
  const members = new Map(group.value.members).set(member, { ...before, ...change });
  return withShard(input, 's0', { group: { state: 'present', value: { ...group.value, members } } });
}

function withSize(input: PlanInput, databaseBytes: number): PlanInput {
  const { database } = shardOf(input, 's0');
  if (database.state !== 'present') throw new Error('no answer');
  return withFacts(input, 's0', { stats: { ...database.value.stats, databaseBytes } });
}

describe('a status', () => {
  it('tells each shard, its members and buckets', () => {
    const result = status(world);
    expect(result).toMatchObject({
      observedGeneration: 1,
      phase: 'Ready',
      shards: { desired: 3, current: 3, ready: 3, summary: '3/3' },
      members: { desired: 9, ready: 9, summary: '9/9' },
      map: { epoch: 1, buckets: 6 + 2 + 3 + 5 },
      primaries: 'shop-s0-0,shop-s1-1,shop-s2-0',
      laidOutTables: ['orders', 'lines', 'readings', 'people', 'documents', 'countries'],
      lastGoodParameters: {},
    });
    expect(result.shards?.items[1]).toMatchObject({
      name: 's1',
      primary: 'shop-s1-1',
      timeline: 1,
      ready: true,
      readyMembers: 3,
      schemaVersion: '002-more',
      buckets: { customer: 2, people: 1 },
    });
    expect(result.shards?.items[1]?.members[0]).toEqual({
      name: 'shop-s1-0',
      role: 'standby',
      state: 'streaming',
      ready: true,
      zone: 'zone-0',
      node: 'node-0',
      timeline: 1,
      lagBytes: 0,
      sync: true,
    });
  });

  it('is what the CRD knows', () => {
    for (const input of [world, emptyWorld(shardedCluster(everyStrategy))]) {
      const result = status(input);
      expect(shardedClusterStatus.parse(result)).toEqual(result);
    }
  });

  it('stays as it is while nothing but the time passes', () => {
    const first = status(world);
    const later = wanting(world, everyStrategy, first);
    expect(status({ ...later, now: new Date(now.getTime() + 3_600_000) })).toEqual(first);
  });

  it('stays as it is when lag and size change a little', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 1024 * 1024 - 1 }),
        fc.integer({ min: 7_960_000, max: 8_040_000 }),
        (lag, size) => {
          expect(status(withSize(withMember(world, 'shop-s0-1', { lagBytes: lag }), size))).toEqual(
            status(world),
          );
        },
      ),
      { numRuns: 30 },
    );
  });

  it('shows a lag that matters', () => {
    const lagging = status(withMember(world, 'shop-s0-1', { lagBytes: 123_456_789 }));
    expect(lagging.shards?.items[0]?.members[1]?.lagBytes).toBe(100_000_000);
  });

  it('moves the time of a condition only when its status changes', () => {
    const first = status(world);
    const later = { ...wanting(world, everyStrategy, first), now: new Date(now.getTime() + 60_000) };
    const second = status(withShard(later, 's0', { database: { state: 'absent' } }));
    const times = (of: typeof first) =>
      Object.fromEntries(
        (of.conditions ?? []).map(({ type, lastTransitionTime }) => [type, lastTransitionTime]),
      );
    expect(times(second)).toEqual({
      ...times(first),
      Ready: '2026-01-10T00:01:00Z',
      Progressing: '2026-01-10T00:01:00Z',
      SchemaApplied: '2026-01-10T00:01:00Z',
    });
  });

  describe('in an outage', () => {
    /** Statuses one after another, each so many seconds after the one before; s0 answers or not. */
    function phases(input: PlanInput, steps: readonly (readonly [seconds: number, answers: boolean])[]) {
      let next = input;
      return steps.map(([seconds, answers]) => {
        const later = new Date(next.now.getTime() + seconds * 1000);
        const { database } = shardOf(input, 's0');
        const seen = withShard({ ...next, now: later }, 's0', {
          database: answers ? database : { state: 'absent' },
        });
        const result = status(seen);
        next = wanting(seen, everyStrategy, result);
        return result.phase;
      });
    }

    it('is Degraded after the time that a switchover may take, until it is over', () => {
      const steps = [
        [0, true],
        [5, false],
        [3, false],
        [8, false],
        [60, false],
        [1, true],
      ] as const;
      expect(phases(world, steps)).toEqual([
        'Ready',
        'Updating',
        'Updating',
        'Degraded',
        'Degraded',
        'Ready',
      ]);
    });

    it('is Creating as long as the cluster was never as wanted', () => {
      const steps = [
        [0, false],
        [600, false],
        [1, true],
      ] as const;
      expect(phases(world, steps)).toEqual(['Creating', 'Creating', 'Ready']);
    });

    it('is Updating when shards are added', async () => {
      const more = { ...everyStrategy, shards: { count: 4 } };
      const first = status(world);
      const begun = status(wanting(world, more, first));
      expect(begun.phase).toBe('Updating');
      const later = { ...wanting(world, more, begun), now: new Date(now.getTime() + 600_000) };
      expect(status(later).phase).toBe('Updating');
    });
  });

  it('keeps that a table is laid out while no shard can be asked', () => {
    const later = wanting(world, everyStrategy, status(world));
    const silent = ['s0', 's1', 's2'].reduce(
      (input, shard) => withShard(input, shard, { database: { state: 'absent' } }),
      later,
    );
    expect(status(silent).laidOutTables).toEqual(status(world).laidOutTables);
    expect(status(silent).shards).toMatchObject({ ready: 0, summary: '0/3' });
  });

  it('names what Kubernetes says of a member that cannot run, and leaves a new one its time', () => {
    const { members } = shardOf(world, 's0');
    const standby = members[2];
    if (standby?.pod === undefined) throw new Error('no pod');
    const starting = {
      ...standby.pod,
      metadata: { ...standby.pod.metadata, creationTimestamp: now.toISOString() },
    };
    const away = (pod: typeof starting | undefined) =>
      withShard(world, 's0', { members: members.with(2, { ...standby, ready: false, pod }) });
    const degraded = (input: PlanInput) => status(input).conditions?.find(({ type }) => type === 'Degraded');
    const after = (input: PlanInput, seconds: number): PlanInput => ({
      ...input,
      now: new Date(now.getTime() + seconds * 1_000),
    });
    const seenBefore = (input: PlanInput): PlanInput => ({
      ...input,
      cluster: { ...input.cluster, status: status(world) },
    });
    expect(degraded(seenBefore(away(starting)))).toMatchObject({ status: 'False' });
    expect(degraded(seenBefore(after(away(starting), 60)))).toMatchObject({
      status: 'True',
      message: 'not ready: shop-s0-2',
    });
    // Of a new cluster, whose images may have to be pulled, only Kubernetes knows what is amiss.
    expect(degraded(after(away(starting), 60))).toMatchObject({ status: 'False' });
    const unscheduled = {
      ...starting,
      status: {
        conditions: [
          {
            type: 'PodScheduled',
            status: 'False',
            reason: 'Unschedulable',
            message: '0/3 nodes are available: 3 Insufficient cpu.',
          },
        ],
      },
    };
    expect(degraded(away(unscheduled))).toMatchObject({ status: 'False' });
    expect(degraded(after(away(unscheduled), 10))?.message).toBe(
      'not ready: shop-s0-2 (Unschedulable: 0/3 nodes are available: 3 Insufficient cpu: ' +
        'lower spec.resources.requests, or add nodes)',
    );
  });
});
