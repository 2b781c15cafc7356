import { expect, it } from 'vitest';
import { afterPostgresError } from './beginning.ts';

it.each([
  ['a right that is missing', '42501', { reason: 'NotPermitted', message: 'no' }],
  ['a question that takes too long', '57014', { requeueAfterMs: 60_000 }],
  ['a lock', '55P03', { requeueAfterMs: 5_000 }],
])('of %s comes, before a move has begun, %s: %o', (_, sqlstate, expected) => {
  expect(afterPostgresError({ sqlstate, message: 'no' })).toEqual(expected);
});
