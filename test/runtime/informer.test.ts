import { expect, test } from 'vitest';
import { createInformer } from '../../src/runtime/informer.ts';
import { configMapType } from '../../src/runtime/kubernetes-types.ts';
import { type ConfigMap, configMap, configMaps, connect, startServer, until } from './connect.ts';
import { describe, follow, lists, watchRequests } from './follow.ts';

test('the cache follows what is listed, created, changed and deleted', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('old', { mode: 'a' }));
  const { changes, informer } = await follow(server);
  server.put(configMaps, configMap('new'));
  server.put(configMaps, configMap('old', { mode: 'b' }));
  server.remove(configMaps, 'shop', 'new');
  await until('all changes came', () => changes.length === 4);
  expect(changes).toEqual(['added old', 'added new', 'updated old', 'deleted new']);
  expect(informer.cache.get({ namespace: 'shop', name: 'old' })?.data).toEqual({ mode: 'b' });
  expect(lists(server)).toBe(1);
});

test('a late handler is told of what is there already', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const { informer } = await follow(server);
  const late: string[] = [];
  const stop = informer.onChange((change) => late.push(describe(change)));
  expect(late).toEqual(['added settings']);
  stop();
  server.remove(configMaps, 'shop', 'settings');
  await until('the cache has seen the deletion', () => informer.cache.size === 0);
  expect(late).toEqual(['added settings']);
});

test('a handler that throws harms neither the cache nor the other handlers', async () => {
  const server = await startServer();
  const { informer, changes } = await follow(server);
  informer.onChange(() => {
    throw new Error('a bug');
  });
  const after: string[] = [];
  informer.onChange((change) => after.push(describe(change)));
  server.put(configMaps, configMap('settings'));
  await until('the change came', () => after.length === 1);
  expect(changes).toEqual(['added settings']);
  expect(server.watches.length).toBe(1);
});

test('managed fields are dropped, and what the transform removes tells nobody', async () => {
  const server = await startServer();
  const { informer, changes } = await follow(server, {
    transform: ({ data: _, ...object }) => object,
  });
  const object = configMap('settings', { secret: 'long' });
  server.put(configMaps, {
    ...object,
    metadata: { ...object.metadata, managedFields: [{ manager: 'kubectl' }] },
  });
  server.put(configMaps, configMap('settings', { secret: 'longer' }));
  server.put(configMaps, configMap('end'));
  await until('the last change came', () => changes.includes('added end'));
  const cached = informer.cache.get({ namespace: 'shop', name: 'settings' });
  expect(changes).toEqual(['added settings', 'added end']);
  expect(cached).not.toHaveProperty('data');
  expect(cached?.metadata).not.toHaveProperty('managedFields');
  expect(cached?.metadata.resourceVersion).toBe(
    server.find(configMaps, 'shop', 'settings')?.metadata.resourceVersion,
  );
});

test('cached objects cannot be changed by a reader', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings', { mode: 'a' }));
  const { informer } = await follow(server);
  const cached = informer.cache.get({ namespace: 'shop', name: 'settings' });
  expect(() => Object.assign(cached?.data ?? {}, { mode: 'b' })).toThrow(TypeError);
});

test('a bookmark moves the point from which the next watch starts', async () => {
  const server = await startServer();
  const { informer, clock } = await follow(server, { labelSelector: 'herdsman.dev/cluster=shop' });
  for (let number = 0; number < 5; number += 1) server.put(configMaps, configMap(`other-${number}`));
  const at = String(server.resourceVersion);
  expect(informer.cache.hasSeen(at, 'shop')).toBe(false);
  server.bookmark();
  await until('the bookmark came', () => informer.cache.hasSeen(at, 'shop'));
  server.watches[0]?.end();
  clock.advance(300_000);
  await until(
    'it watches again',
    () => watchRequests(server).length === 2,
    () => clock.advance(1_000),
  );
  expect(watchRequests(server)[1]?.get('resourceVersion')).toBe(at);
  expect(informer.cache.size).toBe(0);
});

test('the age of the last sign of life shows a server that is silent', async () => {
  const server = await startServer();
  const { informer, clock } = await follow(server);
  clock.advance(90_000);
  expect(informer.lastSyncAgeMs()).toBe(90_000);
  server.bookmark();
  await until('the bookmark counts', () => informer.lastSyncAgeMs() === 0);
});

test('each namespace has its own list-watch, and a new list of one leaves the others alone', async () => {
  const server = await startServer();
  const other = configMap('settings');
  server.put(configMaps, configMap('settings'));
  server.put(configMaps, { ...other, metadata: { ...other.metadata, namespace: 'bank' } });
  server.put(configMaps, { ...other, metadata: { ...other.metadata, namespace: 'stranger' } });
  const { informer, changes, clock } = await follow(server, { namespaces: ['shop', 'bank'] }, 2);
  expect(informer.cache.size).toBe(2);
  server.silently(() => server.remove(configMaps, 'shop', 'settings'));
  server.compact();
  server.watches.find(({ request }) => request.path.includes('/shop/'))?.end();
  await until(
    'the deletion is noticed',
    () => informer.cache.size === 1,
    () => clock.advance(100),
  );
  expect(informer.cache.list('bank').length).toBe(1);
  expect(changes.filter((change) => change.startsWith('deleted'))).toEqual(['deleted settings']);
});

test('waiting for the first list ends with the signal', async () => {
  const server = await startServer();
  const client = await connect(server);
  server.intercept(() => true);
  const informer = createInformer<ConfigMap>({ type: configMapType }, { client });
  const controller = new AbortController();
  informer.start(controller.signal);
  const waiting = informer.waitForSync(controller.signal);
  controller.abort(new Error('shutting down'));
  await expect(waiting).rejects.toThrow('shutting down');
});

test('a quiet hour costs a handful of requests', async () => {
  const server = await startServer();
  const { clock } = await follow(server);
  const before = server.requests.length;
  for (let minute = 0; minute < 60; minute += 1) {
    clock.advance(60_000);
    server.bookmark();
    const due = (minute + 1) % 8 === 0;
    if (!due) continue;
    server.watches[0]?.end();
    const opened = watchRequests(server).length;
    await until(
      'it watches again',
      () => watchRequests(server).length > opened,
      () => clock.advance(100),
    );
    await until('the watch is open', () => server.watches.length === 1);
  }
  expect(server.requests.length - before).toBe(7);
  expect(lists(server)).toBe(1);
});

test('a line that comes byte by byte, and many lines in one piece, are read alike', async () => {
  const server = await startServer();
  const { changes } = await follow(server);
  const line = (name: string, version: number): string =>
    `${JSON.stringify({ type: 'ADDED', object: withVersion(configMap(name, { text: 'größer' }), version) })}\n`;
  const [watch] = server.watches;
  for (const character of line('slow', 501)) watch?.write(character);
  watch?.write(line('fast-1', 502) + line('fast-2', 503));
  await until('all came', () => changes.length === 3);
  expect(changes).toEqual(['added slow', 'added fast-1', 'added fast-2']);
});

function withVersion(object: ConfigMap, version: number): ConfigMap {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
}
