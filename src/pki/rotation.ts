import type { KeyPair } from './key-pair.ts';
import { clockSkew, expiry, isSignedBy, renewalTime } from './renewal.ts';

/** A cluster's authority through its rotation. */
export interface AuthorityState {
  /** Signs certificates. */
  readonly current: KeyPair;
  /** Is trusted already and will sign when every peer has had the time to learn of it. */
  readonly next?: KeyPair;
  /** All certificates that peers trust. */
  readonly bundle: string;
}

/** What to do with an authority now. */
export type RotationStep = 'keep' | 'stage' | 'promote';

/** Kubelets deliver a Secret within minutes; a day leaves room for an operator or a node that is away. */
const settleTime = 24 * 3_600_000;

/**
 * The next step of the rotation: it begins after two thirds of the authority's life. No peer accepts certificates of one that
 * has expired, and each would be due as soon as it is issued: then the next one signs at once.
 */
export function rotationStep(state: AuthorityState, now: Date): RotationStep {
  if (state.next !== undefined) {
    return now >= settledAt(state.next) || isSpent(state.current, now) ? 'promote' : 'keep';
  }
  const due = renewalTime(state.current.certificate);
  return due === undefined || now >= due ? 'stage' : 'keep';
}

/** Certificates are valid from before they are made: in an authority's last moments they are due from the start. */
function isSpent({ certificate }: KeyPair, now: Date): boolean {
  const end = expiry(certificate);
  return end !== undefined && now.getTime() >= end.getTime() - clockSkew;
}

/** When a staged authority may begin to sign; the date is reckoned from the certificate, so nothing else is stored. */
function settledAt(next: KeyPair): Date {
  const due = renewalTime(next.certificate);
  const end = expiry(next.certificate);
  if (due === undefined || end === undefined) return new Date(0);
  const start = end.getTime() - (end.getTime() - due.getTime()) * 3;
  return new Date(start + settleTime);
}

/** A new cluster's authority. */
export function initialAuthority(current: KeyPair): AuthorityState {
  return { current, bundle: current.certificate };
}

/** A new authority. Where it follows one whose key was lost, peers go on trusting what they trusted. */
export function succeedingAuthority(current: KeyPair, trusted: readonly string[], now: Date): AuthorityState {
  return { current, bundle: bundleOf([current.certificate, ...trusted.flatMap(certificates)], now) };
}

/**
 * The authority that a certificate may be of. Peers learn within a day of one that followed upon a loss; until then
 * certificates of those before it are as good, and its own would be refused by who has not learnt.
 */
export function acceptedAuthority(
  { current, bundle }: AuthorityState,
  certificate: string,
  now: Date,
): string {
  if (now >= settledAt(current)) return current.certificate;
  return certificates(bundle).find((known) => isSignedBy(certificate, known)) ?? current.certificate;
}

/** First half of the rotation: peers trust the next authority before any certificate is of it. */
export function stageAuthority(state: AuthorityState, next: KeyPair, now: Date): AuthorityState {
  return {
    current: state.current,
    next,
    bundle: bundleOf([next.certificate, ...certificates(state.bundle)], now),
  };
}

/** Second half: the next authority signs; the old one is trusted until it expires. */
export function promoteAuthority(state: AuthorityState, now: Date): AuthorityState {
  if (state.next === undefined) return state;
  return {
    current: state.next,
    bundle: bundleOf([state.next.certificate, state.current.certificate, ...certificates(state.bundle)], now),
  };
}

/** The bundle without certificates that have expired. */
export function withoutExpired(bundle: string, now: Date): string {
  return bundleOf(certificates(bundle), now);
}

function bundleOf(all: readonly string[], now: Date): string {
  const valid = all.filter((certificate) => {
    const end = expiry(certificate);
    return end !== undefined && end > now;
  });
  return [...new Set(valid)].join('');
}

/** The single certificates of a bundle. */
export function certificates(bundle: string): string[] {
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => `${block}\n`);
}
