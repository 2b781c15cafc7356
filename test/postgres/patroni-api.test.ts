import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority } from '../../src/pki/authority.ts';
import { issueCertificate } from '../../src/pki/certificate.ts';
import type { KeyPair } from '../../src/pki/key-pair.ts';
import { PatroniError, type PatroniOptions, patroniApi } from '../../src/postgres/patroni-api.ts';
import { UnreachableError } from '../../src/postgres/postgres-error.ts';

const lifetime = 3_600_000;
const servername = 'shop-s0-rw.default.svc';
let authority: KeyPair;
let server: Server;
let options: PatroniOptions;
let answer: (request: IncomingMessage, response: ServerResponse, body: string) => void;

beforeAll(async () => {
  const now = new Date();
  authority = await createAuthority({ commonName: 'test', now, lifetime });
  const own = await issueCertificate(authority, {
    commonName: servername,
    dnsNames: [servername],
    usage: 'server',
    now,
    lifetime,
  });
  const client = await issueCertificate(authority, {
    commonName: 'herdsman',
    usage: 'client',
    now,
    lifetime,
  });
  server = createServer(
    {
      cert: own.certificate,
      key: own.key,
      ca: authority.certificate,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => {
        body += chunk;
      });
      request.on('end', () => answer(request, response, body));
    },
  ).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  options = {
    host: '127.0.0.1',
    port: typeof address === 'object' && address !== null ? address.port : 0,
    servername,
    ca: authority.certificate,
    clientCertificate: { cert: client.certificate, key: client.key },
  };
});
afterAll(() => {
  server?.closeAllConnections();
  server?.close();
});

const json = (status: number, value: unknown) => {
  answer = (_, response) => {
    response.writeHead(status).end(typeof value === 'string' ? value : JSON.stringify(value));
  };
};

describe("Patroni's API", () => {
  it('is asked over TLS by a certificate that the authority signed', async () => {
    let peer: string | string[] | undefined;
    let authorized = false;
    answer = (request, response) => {
      const socket = request.socket as TLSSocket;
      peer = socket.getPeerCertificate().subject.CN;
      authorized = socket.authorized;
      response.end('{"members": []}');
    };
    expect(await patroniApi(options).cluster()).toEqual({ members: [] });
    expect({ peer, authorized }).toEqual({ peer: 'herdsman', authorized: true });
  });

  it('also tells of itself while PostgreSQL is down', async () => {
    json(503, { state: 'starting', role: 'replica' });
    expect(await patroniApi(options).member()).toMatchObject({ state: 'starting' });
  });

  it('is not trusted under another name', async () => {
    const other = patroniApi({ ...options, servername: 'shop-s1-rw.default.svc' });
    await expect(other.cluster()).rejects.toBeInstanceOf(UnreachableError);
  });

  it('gets switchovers and configuration as JSON', async () => {
    const seen: unknown[] = [];
    answer = (request, response, body) => {
      seen.push([request.method, request.url, JSON.parse(body)]);
      response.end(request.url === '/config' ? '{"ttl": 15}' : 'Successfully switched over to "shop-s0-1"\n');
    };
    const api = patroniApi(options);
    const change = { leader: 'shop-s0-0', candidate: 'shop-s0-1' };
    expect(await api.switchover(change)).toBe('Successfully switched over to "shop-s0-1"');
    expect(await api.patchConfig({ ttl: 15, postgresql: { parameters: { work_mem: null } } })).toEqual({
      ttl: 15,
    });
    expect(seen).toEqual([
      ['POST', '/switchover', change],
      ['PATCH', '/config', { ttl: 15, postgresql: { parameters: { work_mem: null } } }],
    ]);
  });

  it('says why it refuses', async () => {
    json(412, 'leader name does not match');
    const refused = patroniApi(options).switchover({ leader: 'shop-s0-2' });
    await expect(refused).rejects.toThrow('leader name does not match');
    await expect(patroniApi(options).reload()).rejects.toMatchObject({ status: 412 });
    await expect(patroniApi(options).reload()).rejects.toBeInstanceOf(PatroniError);
  });

  it('need not have anything to restart', async () => {
    json(503, 'restart conditions are not satisfied');
    expect(await patroniApi(options).restart({ onlyIfPending: true })).toBe('nothing was pending');
    await expect(patroniApi(options).restart()).rejects.toBeInstanceOf(PatroniError);
  });

  it('is unknown when it is silent, breaks off, talks nonsense or is not there', async () => {
    answer = () => undefined;
    const silent = patroniApi({ ...options, timeoutMs: 50 });
    await expect(silent.cluster()).rejects.toBeInstanceOf(UnreachableError);
    answer = (request) => request.socket.destroy();
    await expect(patroniApi(options).cluster()).rejects.toBeInstanceOf(UnreachableError);
    json(200, '<html>');
    await expect(patroniApi(options).cluster()).rejects.toBeInstanceOf(UnreachableError);
    await expect(patroniApi({ ...options, port: 1 }).cluster()).rejects.toBeInstanceOf(UnreachableError);
  });
});
