import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { scramVerifier, verifierMatches } from './scram.ts';

test('the server key yields the server signature of the example in RFC 7677', () => {
  const salt = 'W22ZaJ0SNY7soEsUEjb6gQ==';
  const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
  const conversation = `n=user,r=rOprNGfwEbeRWgbNEkqO,r=${nonce},s=${salt},i=4096,c=biws,r=${nonce}`;

  const verifier = scramVerifier('pencil', { salt: Buffer.from(salt, 'base64'), iterations: 4096 });
  expect(verifier).toBe(
    `SCRAM-SHA-256$4096:${salt}$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=`,
  );
  const serverKey = Buffer.from(verifier.split(':').at(-1) ?? '', 'base64');
  expect(createHmac('sha256', serverKey).update(conversation).digest('base64')).toBe(
    '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
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
