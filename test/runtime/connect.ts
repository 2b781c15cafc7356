import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { createKubeClient, type KubeClient, type RequestRecord } from '../../src/runtime/kube-client.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { type ScriptedApiServer, startScriptedApiServer } from '../support/scripted-api-server.ts';

/** REST path of the collection that most tests use. */
export const configMaps = '/api/v1/configmaps';

/** A ConfigMap with as little as possible. */
export interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
}

/** Makes a ConfigMap in namespace `shop`. */
export function configMap(
  name: string,
  data: Record<string, string> = {},
  labels?: Record<string, string>,
): ConfigMap {
  const metadata = { name, namespace: 'shop', ...(labels === undefined ? {} : { labels }) };
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data };
}

/** A server that ends with the test. */
export async function startServer(tls?: {
  readonly key: string;
  readonly cert: string;
}): Promise<ScriptedApiServer> {
  const server = await startScriptedApiServer(tls);
  onTestFinished(() => server.close());
  return server;
}

/** The files of a service account, removed with the test. */
export function serviceAccountFiles(token = 'first-token', ca = ''): string {
  const directory = mkdtempSync(join(tmpdir(), 'service-account-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'token'), `${token}\n`);
  writeFileSync(join(directory, 'ca.crt'), ca);
  writeFileSync(join(directory, 'namespace'), 'herdsman-system');
  return directory;
}

/** A client of the server that ends with the test. */
export async function connect(
  server: { readonly url: string },
  options: { directory?: string; userAgent?: string; onRequest?: (record: RequestRecord) => void } = {},
): Promise<KubeClient> {
  const { directory = serviceAccountFiles(), userAgent = 'herdsman/test', onRequest } = options;
  const serviceAccount = { server: server.url, directory };
  const client = await createKubeClient({ serviceAccount, userAgent, fieldManager: 'herdsman', onRequest });
  onTestFinished(() => client.close());
  return client;
}

/** A signal that aborts with the test. */
export function testSignal(): AbortSignal {
  const controller = new AbortController();
  onTestFinished(() => controller.abort(new Error('the test is over')));
  return controller.signal;
}

/** Waits for a condition; between looks `meanwhile` may move a clock. */
export async function until(
  description: string,
  holds: () => boolean,
  meanwhile: () => void = () => {},
): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > deadlineMs) throw new Error(`never came true: ${description}`);
    meanwhile();
    await sleep(2);
  }
}
