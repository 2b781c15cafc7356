import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ApiError, isConflict, isExpired, TransportError } from '../../src/runtime/api-error.ts';
import type { RequestRecord } from '../../src/runtime/kube-client.ts';
import { configMapType, podType, statefulSetType } from '../../src/runtime/kubernetes-types.ts';
import { answer, refuse } from '../support/scripted-api-server.ts';
import {
  type ConfigMap,
  configMap,
  configMaps,
  connect,
  serviceAccountFiles,
  startServer,
  until,
} from './connect.ts';

const key = { namespace: 'shop', name: 'settings' };

test('an object comes back with the fields that nobody declared', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.put(configMaps, { ...configMap('settings'), spec: { invented: { tomorrow: 1 } } });
  const found = await client.get(configMapType, key);
  expect(found?.spec).toEqual({ invented: { tomorrow: 1 } });
  expect(server.requests[0]?.headers['user-agent']).toBe('herdsman/test');
});

test('absent is only what the server says of this very name', async () => {
  const server = await startServer();
  const client = await connect(server);
  expect(await client.get(configMapType, key)).toBeUndefined();
  expect(await client.read(configMapType, key)).toEqual({ state: 'absent' });
});

test.each([
  ['a bare 404 of a path that is not served', 404, 'text/plain', '404 page not found'],
  ['a 404 that names another object', 404, 'application/json', status('NotFound', { name: 'shop' })],
  ['a 404 of a proxy', 404, 'text/html', '<html>not found</html>'],
  ['a 500', 500, 'application/json', status('InternalError', {})],
  ['a 403', 403, 'application/json', status('Forbidden', { name: 'settings' })],
  ['a body that is not JSON', 200, 'application/json', '{"kind": "ConfigM'],
])('%s is unknown, not absent', async (_, code, contentType, body) => {
  const server = await startServer();
  const client = await connect(server);
  server.intercept((_request, response) => {
    response.writeHead(code, { 'content-type': contentType }).end(body);
    return true;
  });
  expect(await client.read(configMapType, key)).toMatchObject({ state: 'unknown' });
  await expect(client.get(configMapType, key)).rejects.toThrow();
});

test('a connection that breaks within the answer is an unknown outcome', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.intercept((_request, response) => {
    response.writeHead(200, { 'content-length': 1_000 }).write('{"kind":');
    setImmediate(() => response.destroy());
    return true;
  });
  const error = await client.get(configMapType, key).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(TransportError);
  expect(error).toMatchObject({ unsent: false });
});

test('a refused connection is known to have changed nothing', async () => {
  const server = await startServer();
  const client = await connect({ url: await unusedUrl() });
  const error = await client.create(configMapType, configMap('settings')).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(TransportError);
  expect(error).toMatchObject({ unsent: true });
  expect(server.requests).toEqual([]);
});

test('a server that never answers is given up at the timeout, and idle connections are not trusted after it', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.put(configMaps, configMap('settings'));
  await Promise.all([client.get(configMapType, key), client.get(configMapType, key)]);
  const remove = server.intercept(() => true);
  expect(await client.read(configMapType, key, { timeoutMs: 50 })).toMatchObject({ state: 'unknown' });
  remove();
  const before = new Set(server.requests.map(({ connection }) => connection));
  expect(await client.read(configMapType, key)).toMatchObject({ state: 'present' });
  expect(before).not.toContain(server.requests.at(-1)?.connection);
});

test('an aborted call ends at once', async () => {
  const server = await startServer();
  const client = await connect(server);
  const controller = new AbortController();
  server.intercept(() => {
    controller.abort(new Error('leadership lost'));
    return true;
  });
  await expect(client.get(configMapType, key, { signal: controller.signal })).rejects.toThrow(
    'leadership lost',
  );
});

test('one connection serves call after call', async () => {
  const server = await startServer();
  const client = await connect(server);
  for (let call = 0; call < 5; call += 1) await client.get(configMapType, key);
  expect(new Set(server.requests.map(({ connection }) => connection)).size).toBe(1);
});

test('429 is tried again after the time that the server names, also for writes', async () => {
  const server = await startServer();
  const client = await connect(server);
  let refusals = 0;
  server.intercept((_request, response) => {
    refusals += 1;
    if (refusals > 2) return false;
    refuse(response, 429, 'TooManyRequests', { 'retry-after': '0' });
    return true;
  });
  await client.create(configMapType, configMap('settings'));
  expect(server.count('POST', /configmaps/)).toBe(3);
});

test('429 beyond the deadline is thrown with the time to wait', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.intercept((_request, response) => {
    refuse(response, 429, 'TooManyRequests', { 'retry-after': '60' });
    return true;
  });
  const error = await client.get(configMapType, key).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(ApiError);
  expect(error).toMatchObject({ status: 429, retryAfterMs: 60_000 });
  expect(server.requests.length).toBe(1);
});

test('retries can be turned off, as an eviction needs', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.intercept((_request, response) => {
    refuse(response, 429, 'TooManyRequests', { 'retry-after': '0' });
    return true;
  });
  const path = '/api/v1/namespaces/shop/pods/shop-s0-0/eviction';
  await expect(client.request({ method: 'POST', path, body: {}, retries: 0 })).rejects.toMatchObject({
    status: 429,
  });
  expect(server.requests.length).toBe(1);
});

test('a write is never repeated when its outcome is unknown', async () => {
  const server = await startServer();
  const client = await connect(server);
  await client.get(configMapType, key);
  server.intercept((request, response) => {
    if (request.method !== 'POST') return false;
    response.socket?.resetAndDestroy();
    return true;
  });
  await expect(client.create(configMapType, configMap('settings'))).rejects.toBeInstanceOf(TransportError);
  expect(server.count('POST', /configmaps/)).toBe(1);
});

test('a read over a kept connection that turns out closed is repeated on a new one', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.put(configMaps, configMap('settings'));
  await client.get(configMapType, key);
  const remove = server.intercept((_request, response) => {
    remove();
    response.socket?.resetAndDestroy();
    return true;
  });
  expect(await client.get(configMapType, key)).toMatchObject({ kind: 'ConfigMap' });
});

test('the next request carries a token that has been rotated', async () => {
  const server = await startServer();
  const directory = serviceAccountFiles('first-token');
  const client = await connect(server, { directory });
  await client.get(configMapType, key);
  writeFileSync(join(directory, 'token'), 'second-token-is-longer\n');
  await client.get(configMapType, key);
  const tokens = server.requests.map(({ headers }) => headers.authorization);
  expect(tokens).toEqual(['Bearer first-token', 'Bearer second-token-is-longer']);
});

test('401 reads the credentials anew and tries once more', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.intercept((_request, response) => {
    refuse(response, 401, 'Unauthorized');
    return true;
  });
  await expect(client.get(configMapType, key)).rejects.toMatchObject({ status: 401 });
  expect(server.requests.length).toBe(2);
});

test('a list goes through its pages, and names the kind of each item', async () => {
  const server = await startServer();
  const client = await connect(server);
  for (let number = 0; number < 7; number += 1) server.put(configMaps, configMap(`settings-${number}`));
  const page = await client.listAll<ConfigMap>(configMapType, { namespace: 'shop', limit: 3 });
  expect(page.items.map(({ metadata }) => metadata.name)).toEqual(
    Array.from({ length: 7 }, (_, number) => `settings-${number}`),
  );
  expect(page.items[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
  expect(server.requests.length).toBe(3);
});

test('a list whose continue token expires is read again in one piece', async () => {
  const server = await startServer();
  const client = await connect(server);
  for (let number = 0; number < 7; number += 1) server.put(configMaps, configMap(`settings-${number}`));
  server.intercept((request) => {
    if (request.query.has('continue')) server.compact();
    return false;
  });
  const page = await client.listAll(configMapType, { limit: 3 });
  expect(page.items.length).toBe(7);
  expect(new Set(page.items.map(({ metadata }) => metadata.name)).size).toBe(7);
  expect(server.requests.map(({ query }) => query.get('limit'))).toEqual(['3', '3', null]);
});

test('an answer that is no list is not an empty list', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.intercept((_request, response) => {
    answer(response, {});
    return true;
  });
  await expect(client.listAll(configMapType)).rejects.toBeInstanceOf(TransportError);
});

test('a delete with the uid of another object is refused', async () => {
  const server = await startServer();
  const client = await connect(server);
  const stored = server.put(configMaps, configMap('settings'));
  const error = await client.delete(configMapType, key, { uid: 'other' }).catch((caught: unknown) => caught);
  expect(isConflict(error)).toBe(true);
  expect(server.find(configMaps, 'shop', 'settings')).toBeDefined();
  expect(await client.delete(configMapType, key, { uid: stored.metadata.uid })).toBe('gone');
  expect(await client.delete(configMapType, key)).toBe('absent');
});

test('a delete that a finalizer holds up says so', async () => {
  const server = await startServer();
  const client = await connect(server);
  const object = configMap('settings');
  server.put(configMaps, { ...object, metadata: { ...object.metadata, finalizers: ['herdsman.dev/hold'] } });
  expect(await client.delete(configMapType, key)).toBe('deleting');
});

test('an update is a compare-and-swap on the resourceVersion', async () => {
  const server = await startServer();
  const client = await connect(server);
  const first = await client.create(configMapType, configMap('settings', { mode: 'a' }));
  const second = await client.update(configMapType, { ...first, data: { mode: 'b' } });
  const error = await client
    .update(configMapType, { ...first, data: { mode: 'c' } })
    .catch((caught: unknown) => caught);
  expect(isConflict(error)).toBe(true);
  expect(second.data).toEqual({ mode: 'b' });
});

test('server-side apply, patches and status go to their own paths and content types', async () => {
  const server = await startServer();
  const client = await connect(server);
  const set = {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { namespace: 'shop', name: 'shop-s0' },
    spec: {},
  };
  await client.apply(statefulSetType, set, { force: true });
  await client.applyStatus(statefulSetType, set, { fieldManager: 'status' });
  await client.patch(
    statefulSetType,
    { namespace: 'shop', name: 'shop-s0' },
    { spec: {} },
    { type: 'merge' },
  );
  expect(server.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'PATCH /apis/apps/v1/namespaces/shop/statefulsets/shop-s0',
    'PATCH /apis/apps/v1/namespaces/shop/statefulsets/shop-s0/status',
    'PATCH /apis/apps/v1/namespaces/shop/statefulsets/shop-s0',
  ]);
  expect(server.requests.map(({ headers }) => headers['content-type'])).toEqual([
    'application/apply-patch+yaml',
    'application/apply-patch+yaml',
    'application/merge-patch+json',
  ]);
  expect(server.requests.map(({ query }) => [query.get('fieldManager'), query.get('force')])).toEqual([
    ['herdsman', 'true'],
    ['status', 'false'],
    ['herdsman', null],
  ]);
});

test('every request is counted by verb, resource and code', async () => {
  const server = await startServer();
  const records: RequestRecord[] = [];
  const client = await connect(server, { onRequest: (record) => records.push(record) });
  await client.get(podType, { namespace: 'shop', name: 'shop-s0-0' });
  await client.listAll(podType);
  const closed = await connect({ url: await unusedUrl() }, { onRequest: (record) => records.push(record) });
  await closed.read(podType, { namespace: 'shop', name: 'shop-s0-0' });
  expect(records.map(({ verb, resource, code }) => `${verb} ${resource} ${code}`)).toEqual([
    'get pods 404',
    'list pods 200',
    'get pods <error>',
  ]);
});

test('a watch gives what changed, and ends when the server ends it', async () => {
  const server = await startServer();
  const client = await connect(server);
  const from = String(server.resourceVersion);
  server.put(configMaps, configMap('settings'));
  server.remove(configMaps, 'shop', 'settings');
  const seen: string[] = [];
  for await (const event of client.watch(configMapType, { resourceVersion: from, timeoutSeconds: 300 })) {
    seen.push(event.type);
    if (event.type === 'deleted') server.bookmark();
    if (event.type === 'bookmark') server.watches[0]?.end();
  }
  expect(seen).toEqual(['added', 'deleted', 'bookmark']);
  expect(server.requests[0]?.query.get('allowWatchBookmarks')).toBe('true');
});

test('a reader that stops early closes the watch', async () => {
  const server = await startServer();
  const client = await connect(server);
  const from = String(server.resourceVersion);
  server.put(configMaps, configMap('settings'));
  for await (const _ of client.watch(configMapType, { resourceVersion: from, timeoutSeconds: 300 })) break;
  await until('the watch is closed', () => server.watches.length === 0);
});

test('a watch on which nothing comes for too long is taken for dead', async () => {
  const server = await startServer();
  const client = await connect(server);
  const watch = client.watch(configMapType, { resourceVersion: '0', timeoutSeconds: 300, silenceMs: 50 });
  await expect(watch.next()).rejects.toBeInstanceOf(TransportError);
  await until('the watch is closed', () => server.watches.length === 0);
});

test('an error in the stream is thrown as what it is', async () => {
  const server = await startServer();
  const client = await connect(server);
  const watch = client.watch(configMapType, { resourceVersion: '0', timeoutSeconds: 300 });
  const next = watch.next();
  await until('the watch is open', () => server.watches.length === 1);
  server.watches[0]?.write(
    `${JSON.stringify({ type: 'ERROR', object: JSON.parse(status('Expired', {}, 410)) })}\n`,
  );
  expect(isExpired(await next.catch((caught: unknown) => caught))).toBe(true);
});

test.each(['', '.', '..'])('"%s" is refused as a name before anything is sent', async (name) => {
  const server = await startServer();
  const client = await connect(server);
  await expect(client.get(configMapType, { namespace: 'shop', name })).rejects.toBeInstanceOf(TypeError);
  await expect(client.get(configMapType, { namespace: '', name: 'settings' })).rejects.toBeInstanceOf(
    TypeError,
  );
  expect(server.requests).toEqual([]);
});

function status(reason: string, details: object, code = 500): string {
  return JSON.stringify({
    kind: 'Status',
    apiVersion: 'v1',
    status: 'Failure',
    code,
    reason,
    message: reason,
    details,
  });
}

/** A port that was free a moment ago. */
async function unusedUrl(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
}

test("the server's clock is known from its answers", async () => {
  const server = await startServer();
  const client = await connect(server);
  expect(client.serverTime()).toBeUndefined();
  server.intercept((_, response) => {
    response.setHeader('date', 'Thu, 01 Jan 2026 00:00:00 GMT');
    return false;
  });
  await client.list(configMapType);
  expect(client.serverTime()?.toISOString()).toMatch(/^2026-01-01T00:/);
});
