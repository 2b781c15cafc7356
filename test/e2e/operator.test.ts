import { X509Certificate } from 'node:crypto';
import { get } from 'node:https';
import type { TLSSocket } from 'node:tls';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { encoded } from '../../src/resources/sharded-cluster/desired/secrets.ts';
import { podType, secretType } from '../../src/runtime/kubernetes-types.ts';
import { isLocalCluster, kube } from '../support/cluster.ts';
import { leaderPod, waitForSuccessor } from '../support/leader.ts';
import { ensureImages, installOperator, operatorNamespace } from '../support/operator.ts';
import { applicationConfig, connectApplication, readSecret } from '../support/pg.ts';
import { isWrite, listenToOperator } from '../support/requests.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, memberPods, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor, waitUntil } from '../support/wait.ts';

const namespace = namespaceForFile('operator');
const key: ClusterKey = { namespace, name: 'quiet' };

const day = 86_400_000;
/** Connected from the beginning to the end. */
let session: pg.Client;
/** Fingerprint of a certificate that is due for renewal, in the place of the first one. */
let aged: string;

beforeAll(async () => {
  await applyCluster(key, { members: 2 });
  await waitUntilReady(key);
  session = await connectApplication({ namespace, cluster: key.name });
});

afterAll(() => session?.end());

async function storedFingerprint(): Promise<string> {
  const { 'tls.crt': certificate = '' } = await readSecret(namespace, 'quiet-s0-tls');
  return new X509Certificate(certificate).fingerprint256;
}

/** Puts a server certificate of the cluster's own authority in the Secret that has lived for 70 of its 90 days. */
async function ageCertificate(): Promise<string> {
  const { 'ca.crt': certificate = '', 'ca.key': key = '' } = await readSecret(namespace, 'quiet-ca');
  const { 'tls.crt': present = '' } = await readSecret(namespace, 'quiet-s0-tls');
  const { subject, subjectAltName = '' } = new X509Certificate(present);
  const pair = await issueCertificate(
    { certificate, key },
    {
      commonName: subject.replace('CN=', ''),
      dnsNames: subjectAltName.split(', ').map((name) => name.replace('DNS:', '')),
      usage: 'server',
      now: new Date(Date.now() - 70 * day),
      lifetime: 90 * day,
    },
  );
  const data = encoded({ 'tls.crt': pair.certificate, 'tls.key': pair.key });
  await (await kube()).patch(secretType, { namespace, name: 'quiet-s0-tls' }, { data }, { type: 'merge' });
  return new X509Certificate(pair.certificate).fingerprint256;
}

/** Fingerprints of the certificates that the servers of all members show to clients. */
async function servedFingerprints(): Promise<string[]> {
  const config = await applicationConfig({ namespace, cluster: key.name });
  return Promise.all(
    (await memberPods(key)).map(async ({ status }) => {
      const client = new pg.Client({ ...config, host: status?.podIP ?? '', port: 5432 });
      await client.connect();
      const { stream } = (client as unknown as { connection: { stream: TLSSocket } }).connection;
      const { fingerprint256 } = stream.getPeerCertificate();
      await client.end();
      return fingerprint256;
    }),
  );
}

it('goes on in another pod when the leader is killed', async () => {
  aged = await ageCertificate();
  const before = await leaderPod();
  await (await kube()).delete(
    podType,
    { namespace: operatorNamespace, name: before.metadata.name },
    { gracePeriodSeconds: 0 },
  );
  await applyCluster(key, { members: 2, postgres: { parameters: { work_mem: '6MB' } } });
  await waitForSuccessor(before);
  await waitUntilReady(key);
});

it('issues a certificate again that is due', async () => {
  await waitUntil('the Secret has another one', async () => (await storedFingerprint()) !== aged);
});

it('restarts no member when it is upgraded', async () => {
  const before = await memberPods(key);
  const versions = (pods: typeof before) =>
    pods.map(({ metadata, status }) => [
      metadata.uid,
      status?.containerStatuses?.map((one) => one.restartCount),
    ]);
  const leaderBefore = await leaderPod();
  const images = await ensureImages();
  await installOperator(images, `podAnnotations.upgraded=${Date.now()}`);
  await waitForSuccessor(leaderBefore);
  // The new leader has looked at the cluster when it has acted on a change made after it began.
  await applyCluster(key, { members: 2, postgres: { parameters: { work_mem: '5MB' } } });
  await waitUntilReady(key);
  expect(versions(await memberPods(key))).toEqual(versions(before));
});

it('has members take the certificate over, with no restart and no connection lost', async () => {
  const stored = await storedFingerprint();
  await waitFor(
    'all servers show the certificate of the Secret',
    async () => {
      const served = await servedFingerprints();
      return served.every((one) => one === stored) ? { done: true } : { state: { stored, served } };
    },
    // Kubelets look for changes of Secrets about once a minute.
    { timeoutMs: 180_000, everyMs: 1000 },
  );
  const restarts = (await memberPods(key)).flatMap(({ status }) => status?.containerStatuses ?? []);
  expect(restarts.map(({ restartCount }) => restartCount)).toEqual(restarts.map(() => 0));
  expect((await session.query('SELECT 1 AS alive')).rows).toEqual([{ alive: 1 }]);
});

/** Whether PostgreSQL and Patroni of a member let in who has this certificate of the operator's. */
async function letIn(host: string, credentials: { ca: string; cert: string; key: string }): Promise<boolean> {
  const servername = `quiet-s0-rw.${namespace}.svc`;
  const client = new pg.Client({
    host,
    port: 5432,
    user: 'herdsman',
    database: 'postgres',
    ssl: { ...credentials, servername },
    connectionTimeoutMillis: 5_000,
  });
  client.on('error', () => undefined);
  await client.connect();
  await client.end();
  return new Promise((resolve, reject) => {
    const request = get(
      { host, port: 8008, path: '/patroni', ...credentials, servername, agent: false, timeout: 5_000 },
      (response) => resolve(response.resume().statusCode === 200),
    );
    request.on('error', reject);
  });
}

it('has members believe an authority that follows upon a loss long before it signs', async () => {
  const client = await kube();
  const before = await readSecret(namespace, 'quiet-ca');
  const leader = await leaderPod();
  await client.delete(secretType, { namespace, name: 'quiet-ca' });
  // What is read seldom is read by the next leader.
  await client.delete(podType, { namespace: operatorNamespace, name: leader.metadata.name });
  await waitForSuccessor(leader);
  const { 'ca.crt': certificate = '', 'ca.key': key = '' } = await waitFor('another authority', async () => {
    const now = await readSecret(namespace, 'quiet-ca');
    return now['ca.key'] === before['ca.key'] ? { state: 'as before' } : { done: now };
  });
  const pair = await issueCertificate(
    { certificate, key },
    { commonName: 'herdsman', usage: 'client', now: new Date(), lifetime: day },
  );
  const credentials = { ca: before['ca.crt'] ?? '', cert: pair.certificate, key: pair.key };
  for (const { metadata, status } of await memberPods({ namespace, name: 'quiet' })) {
    await waitFor(
      `${metadata.name} believes it`,
      async () => ((await letIn(status?.podIP ?? '', credentials)) ? { done: true } : { state: 'refused' }),
      { timeoutMs: 180_000, everyMs: 1_000 },
    );
  }
  const restarts = (await memberPods({ namespace, name: 'quiet' })).flatMap(
    ({ status }) => status?.containerStatuses ?? [],
  );
  expect(restarts.map(({ restartCount }) => restartCount)).toEqual(restarts.map(() => 0));
  expect((await session.query('SELECT 1 AS alive')).rows).toEqual([{ alive: 1 }]);
});

it('writes nothing while nothing changes', async () => {
  expect(isLocalCluster()).toBe(true);
  await waitUntilReady(key);
  const requests = listenToOperator();
  const begun = performance.now();
  await waitFor('half a minute of quiet', () =>
    performance.now() - begun > 30_000 ? { done: true } : { state: 'waiting' },
  );
  const ours = requests().filter((request) => request.namespace === namespace);
  expect(ours.filter(isWrite)).toEqual([]);
});
