import { expect, test } from 'vitest';
import { generatePassword } from './password.ts';

test('passwords are different and need no escaping in a URL', () => {
  const passwords = Array.from({ length: 100 }, generatePassword);
  expect(new Set(passwords).size).toBe(100);
  for (const password of passwords) {
    expect(password).toMatch(/^[A-Za-z0-9_-]{32}$/);
    expect(encodeURIComponent(password)).toBe(password);
  }
});
