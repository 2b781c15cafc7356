import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MemberSketch, sketchShard } from '../test-support/sketch-shard.ts';
import { decideRollout } from './rollout.ts';

const old: MemberSketch = { outdated: true };
const pending: MemberSketch = { facts: { pendingRestart: true } };

describe('decideRollout', () => {
  it('does nothing when every member is as wanted', () => {
    expect(decideRollout(sketchShard([{}, {}, {}]))).toEqual({ kind: 'none' });
  });

  it('replaces the last standby first', () => {
    expect(decideRollout(sketchShard([old, old, old]))).toMatchObject({
      kind: 'replace',
      member: { ordinal: 2 },
    });
    expect(decideRollout(sketchShard([old, old, {}]))).toMatchObject({
      kind: 'replace',
      member: { ordinal: 1 },
    });
    expect(decideRollout(sketchShard([old, old, old], { leader: 2 }))).toMatchObject({
      kind: 'replace',
      member: { ordinal: 1 },
    });
  });

  it('switches over to a renewed standby before the old primary goes', () => {
    expect(decideRollout(sketchShard([old, {}, {}]))).toMatchObject({
      kind: 'switchover',
      leader: 'shop-s0-0',
      candidate: 'shop-s0-1',
    });
    expect(decideRollout(sketchShard([old, {}, {}], { leader: 1 }))).toMatchObject({
      kind: 'replace',
      member: { ordinal: 0 },
    });
  });

  it('prefers the standby with the least lag, and never one that commits do not wait for', () => {
    expect(
      decideRollout(sketchShard([old, { facts: { lagBytes: 4096 } }, { facts: { lagBytes: 0 } }])),
    ).toMatchObject({ kind: 'switchover', candidate: 'shop-s0-2' });
    expect(decideRollout(sketchShard([old, { facts: { sync: false } }, {}]))).toMatchObject({
      kind: 'switchover',
      candidate: 'shop-s0-2',
    });
    expect(
      decideRollout(sketchShard([old, { facts: { lagBytes: 1e9 } }, { facts: { lagBytes: undefined } }])),
    ).toMatchObject({ kind: 'wait', reason: 'NoCandidate' });
  });

  it('waits with quorum commit until the word of each close standby counts', () => {
    const quorum = { quorum: true };
    expect(decideRollout(sketchShard([old, {}, { facts: { sync: false } }], quorum))).toMatchObject({
      kind: 'wait',
      reason: 'StandbyJoining',
    });
    const far = { facts: { sync: false, lagBytes: 1e9 } };
    expect(decideRollout(sketchShard([old, {}, far], quorum))).toMatchObject({ kind: 'switchover' });
    expect(decideRollout(sketchShard([old, {}, {}], quorum))).toMatchObject({ kind: 'switchover' });
  });

  it('waits while another member is away, starting or not streaming', () => {
    expect(decideRollout(sketchShard([old, { missing: true }, {}]))).toMatchObject({
      reason: 'MemberRestarting',
    });
    expect(decideRollout(sketchShard([old, { deleting: true }, {}]))).toMatchObject({
      reason: 'MemberRestarting',
    });
    expect(decideRollout(sketchShard([old, { ready: false }, {}]))).toMatchObject({
      reason: 'MemberNotReady',
    });
    expect(decideRollout(sketchShard([old, { facts: { state: 'starting' } }, {}]))).toMatchObject({
      reason: 'MemberNotStreaming',
    });
  });

  it('stops with the reason of Kubernetes when a renewed member cannot start', () => {
    expect(
      decideRollout(sketchShard([old, old, { ready: false, waiting: 'ImagePullBackOff' }])),
    ).toMatchObject({
      kind: 'stuck',
      reason: 'ImagePullBackOff',
    });
  });

  it('replaces a broken member at once when the template has been corrected', () => {
    expect(
      decideRollout(sketchShard([old, old, { outdated: true, ready: false, waiting: 'ImagePullBackOff' }])),
    ).toMatchObject({ kind: 'replace', member: { ordinal: 2 } });
  });

  it('restarts members whose parameters need it, in the same order', () => {
    expect(decideRollout(sketchShard([pending, pending, pending]))).toMatchObject({
      kind: 'restart',
      member: 'shop-s0-2',
    });
    expect(decideRollout(sketchShard([pending, {}, {}]))).toMatchObject({ kind: 'switchover' });
    expect(decideRollout(sketchShard([pending]))).toMatchObject({ kind: 'restart', member: 'shop-s0-0' });
  });

  it('restarts the primary first when a parameter shrinks below what a standby may have', () => {
    const shrinking: MemberSketch = {
      facts: {
        pendingRestart: true,
        pendingParameters: [{ name: 'max_connections', from: '200', to: '100' }],
      },
    };
    expect(decideRollout(sketchShard([shrinking, shrinking, shrinking]))).toMatchObject({
      kind: 'restart',
      member: 'shop-s0-0',
    });
  });

  it('takes a standby that is up and does not stream for one that is not well', () => {
    expect(decideRollout(sketchShard([old, {}, { facts: { state: 'running' } }]))).toMatchObject({
      kind: 'wait',
      reason: 'MemberNotStreaming',
    });
  });

  it('replaces an outdated pod of a shard that nobody can ask about only when Kubernetes cannot run it', () => {
    const silent = { group: 'unknown' } as const;
    expect(decideRollout(sketchShard([{ outdated: true, ready: false }, {}], silent))).toMatchObject({
      kind: 'wait',
    });
    const broken = { outdated: true, ready: false, waiting: 'ErrImagePull' };
    expect(decideRollout(sketchShard([broken, broken], silent))).toMatchObject({
      kind: 'replace',
      member: { ordinal: 0 },
    });
  });

  describe('of a member whose volume claim was deleted', () => {
    const losing: MemberSketch = { losesVolume: true };

    it('replaces a standby, so that it clones', () => {
      expect(decideRollout(sketchShard([{}, losing, {}]))).toMatchObject({
        kind: 'replace',
        member: { ordinal: 1 },
      });
    });

    it('switches over before the primary goes', () => {
      expect(decideRollout(sketchShard([losing, {}, {}]))).toMatchObject({ kind: 'switchover' });
      expect(decideRollout(sketchShard([losing, losing, {}]))).toMatchObject({
        kind: 'replace',
        member: { ordinal: 1 },
      });
    });

    it('keeps the pod of the only copy, also when its template is outdated', () => {
      for (const member of [losing, { losesVolume: true, outdated: true }]) {
        expect(decideRollout(sketchShard([member]))).toMatchObject({ kind: 'stuck', reason: 'OnlyCopy' });
      }
    });

    it('replaces one that is broken only while another member leads', () => {
      const broken: MemberSketch = { losesVolume: true, ready: false, waiting: 'CrashLoopBackOff' };
      expect(decideRollout(sketchShard([{}, broken, {}]))).toMatchObject({
        kind: 'replace',
        member: { ordinal: 1 },
      });
      expect(decideRollout(sketchShard([{ ready: false }, broken]))).not.toMatchObject({ kind: 'replace' });
      expect(decideRollout(sketchShard([{}, broken], { group: 'unknown' }))).not.toMatchObject({
        kind: 'replace',
      });
      expect(decideRollout(sketchShard([{}, broken], { leader: 7 }))).not.toMatchObject({ kind: 'replace' });
    });

    it('never deletes the pod of a copy that no ready leader has as well', () => {
      const member = fc.record({
        ready: fc.boolean(),
        outdated: fc.boolean(),
        losesVolume: fc.boolean(),
        deleting: fc.boolean(),
        waiting: fc.constantFrom(undefined, 'CrashLoopBackOff'),
      });
      fc.assert(
        fc.property(
          fc.array(member, { minLength: 1, maxLength: 4 }),
          fc.nat({ max: 5 }),
          fc.constantFrom(undefined, 'unknown' as const, 'absent' as const),
          (members, leader, group) => {
            const sketches = members.map(({ waiting, ...rest }) =>
              waiting === undefined ? rest : { ...rest, waiting },
            );
            const shard = sketchShard(sketches, { leader, ...(group === undefined ? {} : { group }) });
            const decision = decideRollout(shard);
            if (decision.kind !== 'replace' || !decision.member.losesVolume) return;
            const leading = shard.members[leader];
            expect(group).toBeUndefined();
            expect(leading?.ready).toBe(true);
            expect(leading).not.toBe(decision.member);
          },
        ),
      );
    });
  });

  it('does nothing on guesses', () => {
    expect(decideRollout(sketchShard([old, old], { settled: false }))).toMatchObject({ kind: 'wait' });
    expect(decideRollout(sketchShard([old, old], { group: 'unknown' }))).toMatchObject({
      kind: 'wait',
      reason: 'PatroniUnknown',
    });
    expect(decideRollout(sketchShard([old, old], { paused: true }))).toMatchObject({
      kind: 'stuck',
      reason: 'PatroniPaused',
    });
  });

  const sketch = fc.record({
    ready: fc.boolean(),
    outdated: fc.boolean(),
    missing: fc.boolean(),
    deleting: fc.boolean(),
  });

  it('never takes down a ready member while another is not ready', () => {
    fc.assert(
      fc.property(
        fc.array(sketch, { minLength: 2, maxLength: 5 }),
        fc.nat({ max: 4 }),
        (sketches, leader) => {
          const shard = sketchShard(sketches, { leader: leader % sketches.length });
          const decision = decideRollout(shard);
          const others = shard.members.filter(
            (member) => decision.kind === 'replace' && member !== decision.member,
          );
          if (decision.kind !== 'replace' || !decision.member.ready) return;
          expect(others.every((member) => member.ready)).toBe(true);
        },
      ),
    );
  });

  it('never replaces the leader of a shard that has standbys', () => {
    fc.assert(
      fc.property(
        fc.array(sketch, { minLength: 2, maxLength: 5 }),
        fc.nat({ max: 4 }),
        (sketches, leader) => {
          const index = leader % sketches.length;
          const decision = decideRollout(sketchShard(sketches, { leader: index }));
          expect(decision.kind === 'replace' && decision.member.ordinal === index).toBe(false);
        },
      ),
    );
  });

  it('renews every member in a bounded number of steps', () => {
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
        fc.nat({ max: 4 }),
        (flags, start) => {
          let outdated = [...flags];
          let leader = start % flags.length;
          for (let step = 0; step < 2 * flags.length + 1; step++) {
            const decision = decideRollout(
              sketchShard(
                outdated.map((value) => ({ outdated: value })),
                { leader },
              ),
            );
            if (decision.kind === 'none') break;
            if (decision.kind === 'replace') outdated = outdated.with(decision.member.ordinal, false);
            else if (decision.kind === 'switchover') leader = Number(decision.candidate.at(-1));
            else throw new Error(`unexpected ${decision.kind}`);
          }
          expect(outdated.some(Boolean)).toBe(false);
        },
      ),
    );
  });
});
