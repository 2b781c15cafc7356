import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyPair } from './key-pair.ts';

/** Clocks of the machines of a cluster differ; a certificate is valid from this many milliseconds before it is made. */
export const clockSkew = 3_600_000;

/** Why a certificate has to be issued again. */
export type RenewalReason = 'unreadable' | 'due' | 'other-names' | 'other-authority';

/** What a certificate shall be. */
export interface RenewalInput {
  readonly commonName: string;
  readonly dnsNames?: readonly string[];
  /** PEM certificate of the authority that signs now. */
  readonly authority: string;
  readonly now: Date;
}

/** Why the pair has to be replaced, or `undefined` while it is as it shall be: it is due after two thirds of its life. */
export function needsRenewal(pair: KeyPair, input: RenewalInput): RenewalReason | undefined {
  const certificate = readCertificate(pair.certificate);
  if (certificate === undefined || !isKeyOf(certificate, pair.key)) return 'unreadable';
  if (!isSignedBy(pair.certificate, input.authority)) return 'other-authority';
  if (!isFor(certificate, input)) return 'other-names';
  return isDue(certificate, input.now) ? 'due' : undefined;
}

/** Whether both can be read and belong together. */
export function isPair({ certificate, key }: KeyPair): boolean {
  const parsed = readCertificate(certificate);
  return parsed !== undefined && isKeyOf(parsed, key);
}

/** Whether a certificate (PEM) is of an authority. */
export function isSignedBy(certificate: string, authority: string): boolean {
  const key = readCertificate(authority)?.publicKey;
  return key !== undefined && readCertificate(certificate)?.verify(key) === true;
}

/** When a certificate is due to be replaced; `undefined` if it cannot be read. */
export function renewalTime(certificate: string): Date | undefined {
  const parsed = readCertificate(certificate);
  return parsed === undefined ? undefined : dueDate(parsed);
}

/** When a certificate ends to be valid; `undefined` if it cannot be read. */
export function expiry(certificate: string): Date | undefined {
  const parsed = readCertificate(certificate);
  return parsed === undefined ? undefined : new Date(parsed.validTo);
}

/** A certificate from its PEM; `undefined` for what is none: somebody may have written it into a Secret. */
export function readCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function isKeyOf(certificate: X509Certificate, key: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

function isFor(certificate: X509Certificate, input: RenewalInput): boolean {
  const names = (certificate.subjectAltName ?? '').split(', ').filter((name) => name !== '');
  const wanted = (input.dnsNames ?? []).map((name) => `DNS:${name}`);
  return certificate.subject === `CN=${input.commonName}` && names.sort().join() === wanted.sort().join();
}

function isDue(certificate: X509Certificate, now: Date): boolean {
  return now >= dueDate(certificate) || now < new Date(certificate.validFrom);
}

function dueDate(certificate: X509Certificate): Date {
  const from = new Date(certificate.validFrom).getTime();
  const to = new Date(certificate.validTo).getTime();
  return new Date(from + ((to - from) * 2) / 3);
}
