import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { PersistentVolumeClaim } from '../sharded-cluster/kubernetes.ts';
import { clockProblem, decideRetention } from './plan.ts';

const now = new Date('2026-01-10T00:00:00Z');

function claim(annotations: Record<string, string> = {}): PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data-shop-s0-2', namespace: 'shop', uid: 'uid', annotations },
  };
}

const released = { 'herdsman.dev/released-at': '2026-01-01T00:00:00Z' };
const deleting = { 'herdsman.dev/deletion-policy': 'delete', 'herdsman.dev/hold-period': '7d' };

describe('decideRetention', () => {
  it('marks a claim that no member uses, and clears the mark when one does', () => {
    expect(decideRetention(claim(), 'unused', now)).toEqual({
      kind: 'release',
      releasedAt: now.toISOString(),
    });
    expect(decideRetention(claim(released), 'used', now)).toEqual({ kind: 'reuse' });
    expect(decideRetention(claim(), 'used', now)).toEqual({ kind: 'none' });
  });

  it('keeps it for ever unless the policy is delete', () => {
    expect(decideRetention(claim(released), 'unused', now)).toEqual({ kind: 'none' });
    expect(
      decideRetention(
        claim({ ...released, ...deleting, 'herdsman.dev/deletion-policy': 'keep' }),
        'unused',
        now,
      ),
    ).toEqual({
      kind: 'none',
    });
  });

  it('deletes it when the hold period has passed', () => {
    expect(decideRetention(claim({ ...released, ...deleting }), 'unused', now)).toMatchObject({
      kind: 'delete',
      uid: 'uid',
    });
    expect(
      decideRetention(claim({ ...released, ...deleting }), 'unused', new Date('2026-01-07T23:59:59Z')),
    ).toEqual({
      kind: 'none',
      dueAt: new Date('2026-01-08T00:00:00Z'),
    });
  });

  it('has a date also for a hold period that is meant to be for ever', () => {
    const forEver = { ...released, ...deleting, 'herdsman.dev/hold-period': '9999999999d' };
    const decision = decideRetention(claim(forEver), 'unused', now);
    expect(decision).toEqual({ kind: 'none', dueAt: expect.any(Date) });
    // An invalid one would bring the claim back at once, again and again.
    expect(decision.kind === 'none' && decision.dueAt?.toISOString()).toMatch(/^3026-/);
  });

  it('never deletes on what is unknown, unreadable or in use', () => {
    const text = fc.oneof(fc.constant('2026-01-01T00:00:00Z'), fc.string());
    fc.assert(
      fc.property(
        text,
        fc.oneof(fc.constant('delete'), fc.string()),
        fc.oneof(fc.constant('7d'), fc.string()),
        fc.constantFrom('used' as const, 'unknown' as const, 'unused' as const),
        (releasedAt, policy, hold, usage) => {
          const decision = decideRetention(
            claim({
              'herdsman.dev/released-at': releasedAt,
              'herdsman.dev/deletion-policy': policy,
              'herdsman.dev/hold-period': hold,
            }),
            usage,
            now,
          );
          if (decision.kind !== 'delete') return;
          expect({ policy, usage }).toEqual({ policy: 'delete', usage: 'unused' });
          expect(durationMs(hold)).toBeDefined();
        },
      ),
    );
  });
});

describe('clockProblem', () => {
  it.each<[string, string | undefined, RegExp | undefined]>([
    ['the clocks agree', '2026-01-09T23:59:59Z', undefined],
    ['they differ by what machines differ', '2026-01-10T00:04:00Z', undefined],
    ["the operator's is weeks ahead", '2025-12-20T00:00:00Z', /30240 minutes ahead of/],
    ["the API server's is ahead", '2026-01-10T00:06:00Z', /6 minutes behind/],
    ['the API server has not said', undefined, /has not said/],
  ])('when %s', (_, server, expected) => {
    const problem = clockProblem(now, server === undefined ? undefined : new Date(server));
    if (expected === undefined) expect(problem).toBeUndefined();
    else expect(problem).toMatch(expected);
  });
});
