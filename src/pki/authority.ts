import type { KeyPair } from './key-pair.ts';
import { clockSkew } from './renewal.ts';
import {
  BasicConstraintsExtension,
  createKeys,
  exportKey,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectKeyIdentifierExtension,
  signingAlgorithm,
  X509CertificateGenerator,
} from './x509.ts';

/** What an authority is made from. */
export interface AuthorityOptions {
  readonly commonName: string;
  readonly now: Date;
  /** Milliseconds. */
  readonly lifetime: number;
}

/** Lifetime of a cluster's authority: ten years, in milliseconds. */
export const authorityLifetime = 3650 * 24 * 3_600_000;

/** A new self-signed certificate authority that may sign end certificates only. */
export async function createAuthority(options: AuthorityOptions): Promise<KeyPair> {
  const keys = await createKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [options.commonName] }],
    notBefore: new Date(options.now.getTime() - clockSkew),
    notAfter: new Date(options.now.getTime() + options.lifetime),
    signingAlgorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: await exportKey(keys.privateKey) };
}
