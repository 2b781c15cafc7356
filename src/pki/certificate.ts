import type { KeyPair } from './key-pair.ts';
import { clockSkew } from './renewal.ts';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  createKeys,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  exportKey,
  importKey,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  signingAlgorithm,
  X509Certificate,
  X509CertificateGenerator,
} from './x509.ts';

/** What a certificate is made from. */
export interface CertificateOptions {
  readonly commonName: string;
  readonly dnsNames?: readonly string[];
  readonly usage: 'server' | 'client' | 'both';
  readonly now: Date;
  /** Milliseconds. No certificate outlives its authority. */
  readonly lifetime: number;
}

const usages: Readonly<Record<CertificateOptions['usage'], readonly ExtendedKeyUsage[]>> = {
  server: [ExtendedKeyUsage.serverAuth],
  client: [ExtendedKeyUsage.clientAuth],
  both: [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth],
};

/** A new key with a certificate of the authority. */
export async function issueCertificate(authority: KeyPair, options: CertificateOptions): Promise<KeyPair> {
  const issuer = new X509Certificate(authority.certificate);
  const keys = await createKeys();
  const names = options.dnsNames ?? [];
  const certificate = await X509CertificateGenerator.create({
    subject: [{ CN: [options.commonName] }],
    issuer: issuer.subject,
    notBefore: new Date(options.now.getTime() - clockSkew),
    notAfter: new Date(Math.min(options.now.getTime() + options.lifetime, issuer.notAfter.getTime())),
    signingAlgorithm,
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([...usages[options.usage]]),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer),
      ...(names.length === 0
        ? []
        : [new SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns' as const, value })))]),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: await exportKey(keys.privateKey) };
}
