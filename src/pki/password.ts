import { randomBytes } from 'node:crypto';

/** A new password of 32 characters that need no escape in a URL, a shell or SQL (192 random bits). */
export function generatePassword(): string {
  return randomBytes(24).toString('base64url');
}
