import { describe, expect, test } from 'vitest';
import type { SetInput } from './model.ts';
import { plan } from './plan.ts';
import { statusOf } from './status.ts';
import { input, member, readers, settled, shard } from './test-support/world.ts';

describe('the status', () => {
  function conditions(given: SetInput): Record<string, string> {
    const status = statusOf(given, plan(given), undefined);
    return Object.fromEntries((status.conditions ?? []).map(({ type, reason }) => [type, reason]));
  }

  test('is the same in every pass while lag stays inside the limits', () => {
    const set = readers();
    const given = (bytes: number) =>
      input(set, [shard([member(set, 0, { lag: { bytes, seconds: bytes / 1e6, exact: true } })])]);
    const first = statusOf(given(0), plan(given(0)), undefined);
    expect(statusOf(given(5e6), plan(given(5e6)), undefined)).toEqual(first);
  });

  test('says who is late, and who serves', () => {
    const set = readers({ replicas: 2 });
    const given = settled(
      input(set, [shard([member(set, 0, { lag: { bytes: 1e9, seconds: 0, exact: true } }), member(set, 1)])]),
    );
    expect(statusOf(given, plan(given), undefined)).toMatchObject({
      phase: 'Late',
      replicas: { desired: 2, current: 2, ready: 2, inRotation: 1, total: 2, summary: '1/2' },
      shards: [
        {
          servedBy: 'members',
          service: 'readers-s0-read',
          members: [{ rotation: 'out' }, { rotation: 'in' }],
        },
      ],
    });
    expect(conditions(given)).toMatchObject({ Ready: 'Serving', Fresh: 'MembersLate', Degraded: 'AsWanted' });
  });

  test.each([
    { what: 'members', found: shard([member(readers(), 0)]), servedBy: 'members' },
    { what: 'the primary', found: shard([], { byPrimary: true }), servedBy: 'primary' },
    {
      what: 'nobody, when there is no primary to which the Service leads',
      found: shard([], { byPrimary: true, hasReadyPrimary: false }),
      servedBy: 'nobody',
    },
    {
      what: 'nobody, when no member is in rotation',
      found: shard([member(readers(), 0, { rotation: 'out' })]),
      servedBy: 'nobody',
    },
    {
      what: 'nobody, when none that is in rotation is ready',
      found: shard([member(readers(), 0, { ready: false })]),
      servedBy: 'nobody',
    },
  ])('says that $what serves without its cluster', ({ found, servedBy }) => {
    const given = input(readers(), [found], { cluster: undefined });
    const status = statusOf(given, plan(given), undefined);
    expect(status).toMatchObject({ phase: 'Degraded', shards: [{ servedBy }] });
    const reason = servedBy === 'nobody' ? 'ClusterNotFound' : 'Serving';
    expect(conditions(given)).toMatchObject({ Ready: reason, Degraded: 'ClusterNotFound' });
  });

  test.each([
    { hasReadyPrimary: true, servedBy: 'primary', reason: 'Serving' },
    { hasReadyPrimary: false, servedBy: 'nobody', reason: 'MembersStarting' },
  ])('is as ready as the primary that stands in: $servedBy', ({ hasReadyPrimary, servedBy, reason }) => {
    const set = readers({ whenNoneFresh: 'primary' });
    const starts = member(set, 0, { ready: false, rotation: undefined, lag: undefined });
    const given = settled(input(set, [shard([starts], { byPrimary: true, hasReadyPrimary })]));
    const decided = plan(given);
    expect(statusOf(given, decided, undefined)).toMatchObject({ shards: [{ servedBy }] });
    expect(conditions(given)).toMatchObject({ Ready: reason });
    // The Service leads to it nevertheless, so that it serves as soon as it is there.
    expect(decided.actions.filter(({ kind }) => kind === 'apply')).toEqual([]);
  });

  test('is ready without a shard that the set leaves', () => {
    const set = readers();
    const left = shard([], { name: 's1', isWanted: false });
    const given = (wanted: typeof left) => settled(input(set, [wanted, left]));
    expect(conditions(given(shard([member(set, 0)])))).toMatchObject({ Ready: 'Serving' });
    expect(
      conditions(given(shard([member(set, 0, { rotation: undefined, lag: undefined })]))),
    ).not.toMatchObject({ Ready: 'Serving' });
  });

  test('says that weights need a pooler', () => {
    const set = readers({ distribution: 'weighted' });
    const shards = [shard([member(set, 0)])];
    expect(conditions(input(set, shards))).toMatchObject({ DistributionInEffect: 'NeedsPooler' });
    expect(conditions(input(set, shards, { weighers: ['split'] }))).toMatchObject({
      DistributionInEffect: 'WeightedByPooler',
    });
  });

  test('selects the members of one shard for /scale, since replicas are counted per shard', () => {
    const set = readers();
    const given = input(set, [shard([member(set, 0)]), shard([], { name: 's1' })]);
    expect(statusOf(given, plan(given), undefined).selector).toBe(
      'herdsman.dev/component=replica,herdsman.dev/replica-set=readers,herdsman.dev/shard=s0',
    );
  });
});
