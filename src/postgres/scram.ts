import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';

/** How a verifier is made; the defaults are PostgreSQL's own. */
export interface ScramOptions {
  /** 16 random bytes when left out. */
  readonly salt?: Buffer;
  readonly iterations?: number;
}

/**
 * The SCRAM-SHA-256 verifier that PostgreSQL stores for a password (RFC 5802, RFC 7677), so that no password is ever part
 * of a statement. As in PostgreSQL, a password that SASLprep cannot normalise is used as it is.
 */
export function scramVerifier(password: string, options: ScramOptions = {}): string {
  const { salt = randomBytes(16), iterations = 4096 } = options;
  const salted = pbkdf2Sync(normalise(password), salt, iterations, 32, 'sha256');
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  const storedKey = createHash('sha256').update(clientKey).digest('base64');
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}

/** Whether the verifier is the password's own. */
export function verifierMatches(verifier: string, password: string): boolean {
  const match = /^SCRAM-SHA-256\$([0-9]+):([A-Za-z0-9+/=]+)\$/.exec(verifier);
  if (match?.[1] === undefined || match[2] === undefined) return false;
  const salt = Buffer.from(match[2], 'base64');
  return scramVerifier(password, { salt, iterations: Number(match[1]) }) === verifier;
}

/** SASLprep (RFC 4013): spaces of other scripts become a space, invisible marks go, then NFKC. */
function normalise(password: string): string {
  const mapped = password
    .replace(/\p{Zs}|\u200b/gu, ' ')
    .replace(/\u00ad|\u034f|\u1806|\u180b|\u180c|\u180d|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/gu, '')
    .normalize('NFKC');
  return mapped === '' || /\p{Cc}|\p{Co}|\p{Cs}|\p{Cn}/u.test(mapped) ? password : mapped;
}
