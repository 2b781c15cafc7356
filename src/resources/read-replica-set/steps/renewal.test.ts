import { describe, expect, test } from 'vitest';
import { plan } from '../plan.ts';
import { input, kinds, member, readers, settled, shard, stats } from '../test-support/world.ts';

describe('members are renewed', () => {
  const set = readers({ replicas: 2 });

  test('one at a time, out of the Service first', () => {
    const first = plan(
      input(set, [shard([member(set, 0, { outdated: true }), member(set, 1, { outdated: true })])]),
    );
    expect(kinds(first.actions)).toEqual(['rotate']);
    const drained = member(set, 0, { outdated: true, rotation: 'draining', drainingMs: 2_000 });
    const second = plan(input(set, [shard([drained, member(set, 1, { outdated: true })])]));
    expect(second.actions).toContainEqual(
      expect.objectContaining({
        kind: 'delete',
        uid: 'uid-of-readers-s0-replicas-0',
        evidence: 'its template is outdated',
      }),
    );
  });

  test('those first that do not serve, and none while the Service would be empty without it', () => {
    const lag = { bytes: 1e9, seconds: 60, exact: true };
    const serving = member(set, 0, { outdated: true });
    const late = (fields = {}) => member(set, 1, { rotation: 'out', lag, ...fields });
    const waits = plan(input(set, [shard([serving, late()])]));
    expect(kinds(waits.actions)).not.toContain('rotate');
    expect(waits.progress.map(({ reason }) => reason)).toContain('WaitingForFreshMember');
    const both = plan(input(set, [shard([serving, late({ outdated: true })])]));
    expect(both.rotations.get('s0')?.members.map(({ rotation }) => rotation)).toEqual(['in', 'draining']);
    const alone = plan(input(readers({ replicas: 1 }), [shard([serving])]));
    expect(kinds(alone.actions)).toEqual(['rotate']);
  });

  test('not while another is not ready', () => {
    const starting = member(set, 1, { ready: false, rotation: undefined });
    const decided = plan(input(set, [shard([member(set, 0, { outdated: true }), starting])]));
    expect(kinds(decided.actions)).toEqual([]);
    expect(decided.progress.map(({ reason }) => reason)).toContain('MemberNotReady');
  });

  test.each([
    { what: 'where only a parameter needs it', busy: 0, drainingMs: 2_000, expected: ['restart'] },
    { what: 'not while its queries run', busy: 1, drainingMs: 29_000, expected: [] },
    { what: 'when its queries have had their grace', busy: 1, drainingMs: 30_000, expected: ['restart'] },
  ])('by a restart $what', ({ busy, drainingMs, expected }) => {
    const waiting = member(set, 0, {
      pendingRestart: true,
      rotation: 'draining',
      drainingMs,
      stats: { state: 'present', value: stats(set, { busy }) },
    });
    expect(kinds(plan(input(set, [shard([waiting, member(set, 1)])])).actions)).toEqual(expected);
  });

  test.each([
    ['that has begun', member(set, 0, { pendingRestart: true, rotation: 'draining', drainingMs: 2_000 })],
    ['of which Patroni no longer says that it is needed', member(set, 0, { rotation: 'draining' })],
  ])('by one restart at a time, out of the Service: one %s goes on', (_, restarting) => {
    const busy = { ...restarting, work: new Map([['restart', { state: 'running' }]] as const) };
    const waiting = member(set, 1, { pendingRestart: true });
    const decided = plan(settled(input(set, [shard([busy, waiting])])));
    expect(kinds(decided.actions)).toEqual([]);
    expect(decided.rotations.get('s0')?.members.map(({ rotation }) => rotation)).toEqual(['draining', 'in']);
    expect(decided.progress).toMatchObject([{ reason: 'RollingOut' }]);
  });

  test('by another restart when one has failed, which is told', () => {
    const failed = { state: 'failed', message: 'Patroni refused /restart' } as const;
    const waiting = member(set, 0, {
      pendingRestart: true,
      rotation: 'draining',
      drainingMs: 2_000,
      work: new Map([['restart', failed]] as const),
    });
    const { actions, progress } = plan(input(set, [shard([waiting, member(set, 1)])]));
    expect(kinds(actions)).toEqual([]);
    expect(progress).toContainEqual({
      reason: 'Retrying',
      message: 'member readers-s0-replicas-0: Patroni refused /restart',
    });
  });
});
