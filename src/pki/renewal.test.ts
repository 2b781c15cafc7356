import { expect, test } from 'vitest';
import { createAuthority } from './authority.ts';
import { issueCertificate } from './certificate.ts';
import { expiry, needsRenewal, renewalTime } from './renewal.ts';

const day = 24 * 3_600_000;
const start = new Date('2026-01-01T00:00:00Z');
const after = (days: number) => new Date(start.getTime() + days * day);

const authority = await createAuthority({ commonName: 'shop', now: start, lifetime: 3650 * day });
const other = await createAuthority({ commonName: 'shop', now: start, lifetime: 3650 * day });
const dnsNames = ['b.example', 'a.example'];
const pair = await issueCertificate(authority, {
  commonName: 'shop-s0',
  dnsNames,
  usage: 'server',
  now: start,
  lifetime: 90 * day,
});
const wanted = { commonName: 'shop-s0', dnsNames, authority: authority.certificate };

test.each([
  ['new', {}, 0, undefined],
  ['before two thirds of its life', {}, 59, undefined],
  ['after two thirds of its life', {}, 61, 'due'],
  ['expired', {}, 91, 'due'],
  ['not yet valid, as after a wrong clock', {}, -2, 'due'],
  ['names in another order', { dnsNames: ['a.example', 'b.example'] }, 0, undefined],
  ['a name more', { dnsNames: [...dnsNames, 'c.example'] }, 0, 'other-names'],
  ['no names', { dnsNames: [] }, 0, 'other-names'],
  ['another identity', { commonName: 'shop-s1' }, 0, 'other-names'],
  ['another authority of the same name', { authority: other.certificate }, 0, 'other-authority'],
  ['an authority that cannot be read', { authority: 'x' }, 0, 'other-authority'],
] as const)('%s', (_, difference, days, reason) => {
  expect(needsRenewal(pair, { ...wanted, ...difference, now: after(days) })).toBe(reason);
});

test('a damaged certificate, or the key of another one, is replaced', () => {
  expect(needsRenewal({ ...pair, certificate: 'x' }, { ...wanted, now: start })).toBe('unreadable');
  expect(needsRenewal({ ...pair, key: 'x' }, { ...wanted, now: start })).toBe('unreadable');
  expect(needsRenewal({ ...pair, key: authority.key }, { ...wanted, now: start })).toBe('unreadable');
});

test('dates are read from the certificate', () => {
  expect(expiry(pair.certificate)).toEqual(after(90));
  expect(renewalTime(pair.certificate)?.getTime()).toBeCloseTo(after(60).getTime() - 3_600_000 / 3, -4);
  expect(expiry('x')).toBeUndefined();
});
