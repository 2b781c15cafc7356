import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type ConnectionOptions, connect, createServer, type TlsOptions } from 'node:tls';
import { expect, test } from 'vitest';
import { createAuthority } from './authority.ts';
import { issueCertificate } from './certificate.ts';
import type { KeyPair } from './key-pair.ts';
import { certificates, initialAuthority, promoteAuthority, stageAuthority } from './rotation.ts';

const day = 24 * 3_600_000;
const now = new Date();
const names = ['shop-s0-rw.ns.svc', '*.shop-s0.ns.svc', 'localhost'];

async function authority(commonName = 'shop'): Promise<KeyPair> {
  return createAuthority({ commonName, now, lifetime: 3650 * day });
}

function server(issuer: KeyPair): Promise<KeyPair> {
  return issueCertificate(issuer, {
    commonName: 'shop-s0',
    dnsNames: names,
    usage: 'server',
    now,
    lifetime: 90 * day,
  });
}

function client(issuer: KeyPair): Promise<KeyPair> {
  return issueCertificate(issuer, { commonName: 'herdsman', usage: 'client', now, lifetime: 90 * day });
}

/** The common name that the server saw, or the reason why there was no connection. */
async function handshake(serving: TlsOptions, connecting: ConnectionOptions): Promise<string> {
  const listener = createServer({ requestCert: true, rejectUnauthorized: true, ...serving }, (socket) => {
    const { subject } = socket.getPeerCertificate();
    socket.end(typeof subject?.CN === 'string' ? subject.CN : 'nobody');
  });
  listener.on('tlsClientError', () => undefined);
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  try {
    const socket = connect({ host: '127.0.0.1', port, servername: 'shop-s0-rw.ns.svc', ...connecting });
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    listener.close();
  }
}

function peer(pair: KeyPair, ca: string) {
  return { cert: pair.certificate, key: pair.key, ca };
}

test('mutual TLS: each side verifies the other by the authority', async () => {
  const ca = await authority();
  const serving = peer(await server(ca), ca.certificate);
  const connecting = peer(await client(ca), ca.certificate);
  expect(await handshake(serving, connecting)).toBe('herdsman');
  expect(await handshake(serving, { ...connecting, servername: 'shop-s0-1.shop-s0.ns.svc' })).toBe(
    'herdsman',
  );
});

test('a name that is not in the certificate is refused', async () => {
  const ca = await authority();
  const serving = peer(await server(ca), ca.certificate);
  const connecting = peer(await client(ca), ca.certificate);
  const other = { ...connecting, servername: 'shop-s1-rw.ns.svc' };
  expect(await handshake(serving, other)).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
});

test("another cluster's certificates are refused on both sides", async () => {
  const ca = await authority();
  const other = await authority('other');
  const serving = peer(await server(ca), ca.certificate);
  expect(await handshake(serving, peer(await client(ca), other.certificate))).toMatch(
    /UNABLE_TO|SELF_SIGNED/,
  );
  expect(await handshake(serving, peer(await client(other), ca.certificate))).not.toBe('herdsman');
});

test('a client certificate cannot serve, nor a server certificate connect', async () => {
  const ca = await authority();
  const serving = peer(await client(ca), ca.certificate);
  const connecting = peer(await server(ca), ca.certificate);
  expect(await handshake(serving, peer(await client(ca), ca.certificate))).toBe('INVALID_PURPOSE');
  expect(await handshake(peer(await server(ca), ca.certificate), connecting)).not.toBe('shop-s0');
});

test('through a whole rotation, old and new certificates are trusted by peers that have the bundle', async () => {
  const first = initialAuthority(await authority('first'));
  const staged = stageAuthority(first, await authority('second'), now);
  const promoted = promoteAuthority(staged, now);
  expect(certificates(staged.bundle)).toHaveLength(2);
  expect(promoted.current).toEqual(staged.next);

  const before = await server(staged.current);
  const after = await client(promoted.current);
  expect(await handshake(peer(before, promoted.bundle), peer(after, promoted.bundle))).toBe('herdsman');
  // A peer that has read the bundle when it was staged, and not since, already trusts the new authority.
  expect(await handshake(peer(before, staged.bundle), peer(after, staged.bundle))).toBe('herdsman');
  // And one that had not would have to refuse: that is why the bundle comes first.
  expect(await handshake(peer(before, first.bundle), peer(after, staged.bundle))).not.toBe('herdsman');
});

test('no certificate outlives its authority', async () => {
  const ca = await createAuthority({ commonName: 'short', now, lifetime: 10 * day });
  const pair = await server(ca);
  expect(new X509Certificate(pair.certificate).validTo).toBe(new X509Certificate(ca.certificate).validTo);
});
