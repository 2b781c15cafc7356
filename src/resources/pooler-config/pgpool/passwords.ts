import { createCipheriv, createHash } from 'node:crypto';

/** A role that may log in. */
export interface PgpoolLogin {
  readonly username: string;
  readonly password: string;
}

/** Names that can stand in Pgpool-II's files as they are. */
export const loginName = /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/;

/** The file `pool_passwd`: AES-256-CBC with a key and vector made from the key's text, as `pg_enc` writes it. */
export function poolPasswords(logins: readonly PgpoolLogin[], key: string): string {
  return logins.map(({ username, password }) => `${username}:AES${encrypted(password, key)}\n`).join('');
}

function encrypted(password: string, text: string): string {
  const bytes = derived(Buffer.from(text, 'utf8'), 48);
  const cipher = createCipheriv('aes-256-cbc', bytes.subarray(0, 32), bytes.subarray(32));
  return Buffer.concat([cipher.update(password, 'utf8'), cipher.final()]).toString('base64');
}

/** OpenSSL's EVP_BytesToKey with SHA-1, one round and no salt: what Pgpool-II derives keys by. */
function derived(text: Buffer, length: number): Buffer {
  let block = Buffer.alloc(0);
  let bytes = Buffer.alloc(0);
  while (bytes.length < length) {
    block = createHash('sha1')
      .update(Buffer.concat([block, text]))
      .digest();
    bytes = Buffer.concat([bytes, block]);
  }
  return bytes.subarray(0, length);
}
