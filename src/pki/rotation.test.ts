import { expect, test } from 'vitest';
import { createAuthority } from './authority.ts';
import { issueCertificate } from './certificate.ts';
import { needsRenewal } from './renewal.ts';
import {
  acceptedAuthority,
  certificates,
  promoteAuthority,
  rotationStep,
  stageAuthority,
  succeedingAuthority,
  withoutExpired,
} from './rotation.ts';

const day = 24 * 3_600_000;
const start = new Date('2026-01-01T00:00:00Z');
const after = (days: number) => new Date(start.getTime() + days * day);
const lifetime = 300 * day;

test('an authority is staged after two thirds of its life, promoted a day later, and forgotten when it expires', async () => {
  const first = succeedingAuthority(
    await createAuthority({ commonName: 'shop', now: start, lifetime }),
    [],
    start,
  );
  expect(rotationStep(first, after(199))).toBe('keep');
  expect(rotationStep(first, after(201))).toBe('stage');

  const next = await createAuthority({ commonName: 'shop', now: after(201), lifetime });
  const staged = stageAuthority(first, next, after(201));
  expect(staged.current).toEqual(first.current);
  expect(rotationStep(staged, after(201))).toBe('keep');
  expect(rotationStep(staged, after(202))).toBe('promote');

  const promoted = promoteAuthority(staged, after(202));
  expect(promoted).toEqual({ current: next, bundle: next.certificate + first.current.certificate });
  expect(rotationStep(promoted, after(202))).toBe('keep');
  expect(withoutExpired(promoted.bundle, after(299))).toBe(promoted.bundle);
  expect(withoutExpired(promoted.bundle, after(301))).toBe(next.certificate);
});

test('an authority that has expired is followed at once by one whose certificates are good', async () => {
  const expired = succeedingAuthority(
    await createAuthority({ commonName: 'shop', now: start, lifetime }),
    [],
    start,
  );
  const now = after(301);
  expect(rotationStep(expired, now)).toBe('stage');
  const next = await createAuthority({ commonName: 'shop', now, lifetime });
  const staged = stageAuthority(expired, next, now);
  expect(rotationStep(staged, now)).toBe('promote');
  const promoted = promoteAuthority(staged, now);
  expect(rotationStep(promoted, now)).toBe('keep');

  const issued = await issueCertificate(promoted.current, {
    commonName: 'herdsman',
    usage: 'client',
    now,
    lifetime: day,
  });
  const authority = acceptedAuthority(promoted, issued.certificate, now);
  expect(needsRenewal(issued, { commonName: 'herdsman', authority, now })).toBeUndefined();
});

test.each([
  { hoursLeft: 2, step: 'keep' },
  { hoursLeft: 0.4, step: 'promote' },
])('with $hoursLeft h left of an authority a staged one has to $step', async ({ hoursLeft, step }) => {
  const now = after(300 - hoursLeft / 24);
  const current = await createAuthority({ commonName: 'shop', now: start, lifetime });
  const next = await createAuthority({ commonName: 'shop', now, lifetime });
  const staged = stageAuthority(succeedingAuthority(current, [], start), next, now);
  expect(rotationStep(staged, now)).toBe(step);

  const issued = await issueCertificate(current, {
    commonName: 'herdsman',
    usage: 'client',
    now,
    lifetime: day,
  });
  const reason = needsRenewal(issued, {
    commonName: 'herdsman',
    authority: acceptedAuthority(staged, issued.certificate, now),
    now,
  });
  expect(reason).toBe(step === 'promote' ? 'due' : undefined);
});

test('staging and promoting twice changes nothing more', async () => {
  const first = succeedingAuthority(
    await createAuthority({ commonName: 'shop', now: start, lifetime }),
    [],
    start,
  );
  const next = await createAuthority({ commonName: 'shop', now: start, lifetime });
  const staged = stageAuthority(first, next, start);
  expect(certificates(stageAuthority(staged, next, start).bundle)).toHaveLength(2);
  const promoted = promoteAuthority(staged, start);
  expect(promoteAuthority(promoted, start)).toEqual(promoted);
});

test('an authority that follows upon a loss is trusted first, and asks for its own certificates a day later', async () => {
  const lost = await createAuthority({ commonName: 'shop', now: start, lifetime });
  const now = after(10);
  const next = await createAuthority({ commonName: 'shop', now, lifetime });
  const state = succeedingAuthority(next, [lost.certificate, 'none', lost.certificate], now);
  expect(state).toEqual({ current: next, bundle: next.certificate + lost.certificate });

  const issue = (authority: typeof lost) =>
    issueCertificate(authority, { commonName: 'herdsman', usage: 'client', now, lifetime: day });
  const [old, fresh] = [await issue(lost), await issue(next)];
  expect(acceptedAuthority(state, old.certificate, now)).toBe(lost.certificate);
  expect(acceptedAuthority(state, fresh.certificate, now)).toBe(next.certificate);
  expect(acceptedAuthority(state, old.certificate, after(11.5))).toBe(next.certificate);
  const stranger = await createAuthority({ commonName: 'shop', now, lifetime });
  expect(acceptedAuthority(state, (await issue(stranger)).certificate, now)).toBe(next.certificate);
});
