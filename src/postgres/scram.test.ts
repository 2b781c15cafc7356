import { expect, test } from 'vitest';
import { scramVerifier, verifierMatches } from './scram.ts';

test('the keys are those of the example in RFC 7677', () => {
  // user "user", password "pencil", salt and iterations of section 3; the keys were computed from these by PostgreSQL 17.
  const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
  expect(scramVerifier('pencil', { salt, iterations: 4096 })).toBe(
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  );
});

test('a verifier belongs to its password alone', () => {
  const verifier = scramVerifier('secret');
  expect(verifierMatches(verifier, 'secret')).toBe(true);
  expect(verifierMatches(verifier, 'Secret')).toBe(false);
  expect(verifierMatches('md5abcdef', 'secret')).toBe(false);
  expect(scramVerifier('secret')).not.toBe(verifier);
});

test.each([
  ['a non-breaking space is a space', 'a\u00a0b', 'a b'],
  ['a soft hyphen is nothing', 'a\u00adb', 'ab'],
  ['compatibility characters are decomposed', '\u2168', 'IX'],
])('SASLprep: %s', (_, typed, equal) => {
  expect(verifierMatches(scramVerifier(typed), equal)).toBe(true);
});

test('a password with a character that SASLprep prohibits is used as it is', () => {
  expect(verifierMatches(scramVerifier('a\u0007\u2168'), 'a\u0007IX')).toBe(false);
});
