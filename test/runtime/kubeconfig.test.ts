import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createAuthority } from '../../src/pki/authority.ts';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { TransportError } from '../../src/runtime/api-error.ts';
import { createKubeClient } from '../../src/runtime/kube-client.ts';
import { configMapType } from '../../src/runtime/kubernetes-types.ts';
import { configMap, configMaps, connect, serviceAccountFiles, startServer } from './connect.ts';

const key = { namespace: 'shop', name: 'settings' };

interface Served {
  /** The authority's certificate. */
  readonly ca: string;
  readonly tls: { readonly key: string; readonly cert: string };
}

/** A certificate of localhost by an authority of its own. */
async function certify(): Promise<Served> {
  const now = new Date();
  const lifetime = 3_600_000;
  const authority = await createAuthority({ commonName: 'scripted', now, lifetime });
  const options = {
    commonName: 'localhost',
    dnsNames: ['localhost'],
    usage: 'server',
    now,
    lifetime,
  } as const;
  const { key, certificate } = await issueCertificate(authority, options);
  return { ca: authority.certificate, tls: { key, cert: certificate } };
}

function kubeconfig(server: string, ca: string, user: object): string {
  const directory = mkdtempSync(join(tmpdir(), 'kubeconfig-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'config');
  writeFileSync(path, kubeconfigText(server, ca, user));
  return path;
}

function kubeconfigText(server: string, ca: string, user: object): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'main',
    clusters: [
      { name: 'main', cluster: { server, 'certificate-authority-data': Buffer.from(ca).toString('base64') } },
    ],
    users: [{ name: 'main', user }],
    contexts: [{ name: 'main', context: { cluster: 'main', user: 'main', namespace: 'shop' } }],
  });
}

test('a kubeconfig gives server, authority, token and namespace', async () => {
  const { ca, tls } = await certify();
  const server = await startServer(tls);
  server.put(configMaps, configMap('settings'));
  const kubeconfigPath = kubeconfig(server.url, ca, { token: 'from-kubeconfig' });
  const client = await createKubeClient({
    kubeconfigPath,
    userAgent: 'herdsman/test',
    fieldManager: 'herdsman',
  });
  onTestFinished(() => client.close());
  expect(await client.read(configMapType, key)).toMatchObject({ state: 'present' });
  expect(client.defaultNamespace).toBe('shop');
  expect(server.requests[0]?.headers.authorization).toBe('Bearer from-kubeconfig');
});

test('an exec plugin gives the token', async () => {
  const { ca, tls } = await certify();
  const server = await startServer(tls);
  const credential = {
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    status: { token: 'made' },
  };
  const exec = {
    apiVersion: 'client.authentication.k8s.io/v1',
    command: 'echo',
    args: [JSON.stringify(credential)],
    interactiveMode: 'Never',
  };
  const kubeconfigPath = kubeconfig(server.url, ca, { exec });
  const client = await createKubeClient({
    kubeconfigPath,
    userAgent: 'herdsman/test',
    fieldManager: 'herdsman',
  });
  onTestFinished(() => client.close());
  await client.get(configMapType, key);
  expect(server.requests[0]?.headers.authorization).toBe('Bearer made');
});

test('after a 401 the kubeconfig is read again', async () => {
  const { ca, tls } = await certify();
  const server = await startServer(tls);
  const kubeconfigPath = kubeconfig(server.url, ca, { token: 'old' });
  const client = await createKubeClient({
    kubeconfigPath,
    userAgent: 'herdsman/test',
    fieldManager: 'herdsman',
  });
  onTestFinished(() => client.close());
  server.intercept((request, response) => {
    if (request.headers.authorization === 'Bearer new') return false;
    writeFileSync(kubeconfigPath, kubeconfigText(server.url, ca, { token: 'new' }));
    response.writeHead(401).end();
    return true;
  });
  expect(await client.get(configMapType, key)).toBeUndefined();
  expect(server.requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer old', 'Bearer new']);
});

test('a server whose certificate another authority signed gets no token', async () => {
  const [{ tls }, other] = await Promise.all([certify(), certify()]);
  const server = await startServer(tls);
  const client = await connect(server, { directory: serviceAccountFiles('secret', other.ca) });
  const error = await client.get(configMapType, key).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(TransportError);
  expect(error).toMatchObject({ unsent: true });
  expect(server.requests).toEqual([]);
});

test('a new authority in the service account is taken up without a restart', async () => {
  const [{ ca, tls }, other] = await Promise.all([certify(), certify()]);
  const server = await startServer(tls);
  const directory = serviceAccountFiles('token', other.ca);
  const client = await connect(server, { directory });
  expect(await client.read(configMapType, key)).toMatchObject({ state: 'unknown' });
  writeFileSync(join(directory, 'ca.crt'), `${ca}\n${other.ca}`);
  expect(await client.read(configMapType, key)).toEqual({ state: 'absent' });
});
