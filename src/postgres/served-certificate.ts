import { connect } from 'node:tls';
import { UnreachableError } from './postgres-error.ts';

/** Whose certificate to look at. */
export interface ServedCertificateOptions {
  readonly host: string;
  readonly port: number;
  /** Name to ask for. */
  readonly servername: string;
  /** Default 2 s. */
  readonly timeoutMs?: number;
}

/**
 * SHA-256 fingerprint of the certificate that a TLS server presents, as `X509Certificate.fingerprint256` writes it. It is not
 * verified: the question is only whether the server has taken a new one over.
 */
export function servedCertificate(options: ServedCertificateOptions): Promise<string> {
  const { host, port, servername, timeoutMs = 2_000 } = options;
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, servername, rejectUnauthorized: false, timeout: timeoutMs });
    const fail = (why: string): void => {
      socket.destroy();
      reject(new UnreachableError(`no certificate from ${host}:${port}: ${why}`));
    };
    socket.once('secureConnect', () => {
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      resolve(fingerprint256);
    });
    socket.once('timeout', () => fail('no answer in time'));
    socket.once('error', (error) => fail(error.message));
  });
}
