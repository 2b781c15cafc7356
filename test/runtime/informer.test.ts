import { expect, test, vi } from 'vitest';
import {
  type Change,
  createInformer,
  type Informer,
  type InformerOptions,
} from '../../src/runtime/informer.ts';
import { configMapType } from '../../src/runtime/kubernetes-types.ts';
import { createManualClock, type ManualClock } from '../support/manual-clock.ts';
import { refuse, type ScriptedApiServer, startScriptedApiServer } from '../support/scripted-api-server.ts';
import { type ConfigMap, configMap, configMaps, connect, startServer, testSignal, until } from './connect.ts';

interface World {
  readonly server: ScriptedApiServer;
  readonly informer: Informer<ConfigMap>;
  readonly clock: ManualClock;
  /** `added settings`, `updated settings`, … in order. */
  readonly changes: string[];
  readonly restarts: string[];
  names(): string[];
}

/** An informer of a server, synced and watching. */
async function follow(
  server: ScriptedApiServer,
  options: Partial<InformerOptions<ConfigMap>> = {},
  watches = 1,
): Promise<World> {
  const client = await connect(server);
  const clock = createManualClock();
  const restarts: string[] = [];
  const informer = createInformer<ConfigMap>(
    { type: configMapType, ...options },
    { client, clock, random: () => 0.5, onRestart: (type, reason) => restarts.push(`${type} ${reason}`) },
  );
  const changes: string[] = [];
  informer.onChange((change) => changes.push(describe(change)));
  const signal = testSignal();
  informer.start(signal);
  await informer.waitForSync(signal);
  await until('the watches are open', () => server.watches.length === watches);
  const names = (): string[] => informer.cache.list().map(({ metadata }) => metadata.name);
  return { server, informer, clock, changes, restarts, names };
}

function describe(change: Change<ConfigMap>): string {
  return `${change.kind} ${(change.current ?? change.old)?.metadata.name}`;
}

function lists(server: ScriptedApiServer): number {
  return server.requests.filter(({ query }) => !query.has('watch')).length;
}

function watchRequests(server: ScriptedApiServer): URLSearchParams[] {
  return server.requests.filter(({ query }) => query.has('watch')).map(({ query }) => query);
}

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

test.each<[string, (server: ScriptedApiServer) => void]>([
  ['reset', (server) => server.watches[0]?.reset()],
  [
    'cut off within a line',
    (server) => {
      server.watches[0]?.write('{"type":"MODIFIED","object":{"metadata":{"name":"set');
      server.watches[0]?.end();
    },
  ],
  [
    'reset within a line',
    (server) => {
      server.watches[0]?.write('{"type":"MODI');
      setImmediate(() => server.watches[0]?.reset());
    },
  ],
  ['fed with garbage', (server) => server.watches[0]?.write('!!! not JSON !!!\n')],
  ['fed with JSON that is no event', (server) => server.watches[0]?.write('{"hello":"world"}\n')],
])('a watch that is %s goes on from where it was, without a new list', async (_, harm) => {
  const server = await startServer();
  const { changes, clock, restarts } = await follow(server);
  server.put(configMaps, configMap('before'));
  await until('the change came', () => changes.length === 1);
  const at = server.find(configMaps, 'shop', 'before')?.metadata.resourceVersion;
  harm(server);
  await until('the watch is lost', () => restarts.length === 1);
  server.put(configMaps, configMap('meanwhile'));
  await until(
    'the missed change came',
    () => changes.length === 2,
    () => clock.advance(100),
  );
  expect(changes).toEqual(['added before', 'added meanwhile']);
  expect(lists(server)).toBe(1);
  expect(watchRequests(server).at(-1)?.get('resourceVersion')).toBe(at);
});

test('a stream from which only garbage comes leads to a new list in the end', async () => {
  const server = await startServer();
  const { changes, clock, restarts } = await follow(server);
  const garble = server.intercept((request, response) => {
    if (!request.query.has('watch')) return false;
    response.writeHead(200).end('garbage\n');
    return true;
  });
  server.silently(() => server.put(configMaps, configMap('missed')));
  server.watches[0]?.reset();
  await until(
    'it was listed again',
    () => changes.includes('added missed'),
    () => clock.advance(1_000),
  );
  garble();
  await until(
    'it watches again',
    () => server.watches.length === 1,
    () => clock.advance(1_000),
  );
  expect(restarts.length).toBeGreaterThanOrEqual(3);
});

test('410 as the answer to a watch leads to a new list; what is gone by then is told as deleted', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('gone'));
  server.put(configMaps, configMap('stays'));
  const { changes, clock, restarts } = await follow(server);
  server.silently(() => {
    server.remove(configMaps, 'shop', 'gone');
    server.put(configMaps, configMap('stays', { mode: 'b' }));
    server.put(configMaps, configMap('new'));
  });
  server.compact();
  server.watches[0]?.end();
  await until(
    'all changes came',
    () => changes.length === 5,
    () => clock.advance(100),
  );
  expect(changes.slice(2).toSorted()).toEqual(['added new', 'deleted gone', 'updated stays']);
  expect(restarts).toContain('configmaps expired');
  expect(lists(server)).toBe(2);
});

test('410 within the stream leads to a new list', async () => {
  const server = await startServer();
  const { changes, clock } = await follow(server);
  server.silently(() => server.put(configMaps, configMap('missed')));
  const expired = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old' };
  server.watches[0]?.write(`${JSON.stringify({ type: 'ERROR', object: expired })}\n`);
  await until(
    'the missed change came',
    () => changes.length === 1,
    () => clock.advance(100),
  );
  expect(lists(server)).toBe(2);
});

test('a server that answers every watch with 410 is not asked in a tight loop', async () => {
  const server = await startServer();
  const { clock, changes } = await follow(server);
  // After an event the watch has been of use, so that its end alone makes nobody wait.
  server.put(configMaps, configMap('settings'));
  await until('the change came', () => changes.length === 1);
  server.intercept((request, response) => {
    if (!request.query.has('watch')) return false;
    refuse(response, 410, 'Expired');
    return true;
  });
  server.watches[0]?.end();
  // The clock stands still: only what needs no waiting can happen.
  await until('it waits', () => clock.timers > 0);
  expect(lists(server)).toBeLessThanOrEqual(3);
});

test('a server that ends every watch at once is not asked in a tight loop', async () => {
  const server = await startServer();
  const { clock, changes } = await follow(server);
  server.put(configMaps, configMap('settings'));
  await until('the change came', () => changes.length === 1);
  server.intercept((request, response) => {
    if (!request.query.has('watch')) return false;
    response.writeHead(200).end();
    return true;
  });
  server.watches[0]?.end();
  await until('it waits', () => clock.timers > 0);
  expect(watchRequests(server).length).toBeLessThanOrEqual(3);
});

test('an object that was deleted and made anew unseen is told as two', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const { changes, clock } = await follow(server);
  server.silently(() => {
    server.remove(configMaps, 'shop', 'settings');
    server.put(configMaps, configMap('settings'));
  });
  server.compact();
  server.watches[0]?.end();
  await until(
    'both changes came',
    () => changes.length === 3,
    () => clock.advance(100),
  );
  expect(changes).toEqual(['added settings', 'deleted settings', 'added settings']);
});

test('a failed list removes nothing from the cache, whatever the error', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const { changes, clock, informer, names } = await follow(server);
  const codes = [404, 403, 500, 503];
  server.intercept((request, response) => {
    const code = request.query.has('watch') ? 410 : codes.shift();
    if (code === undefined) return false;
    refuse(response, code, code === 410 ? 'Expired' : 'NotFound');
    return true;
  });
  server.watches[0]?.end();
  await until(
    'every error was met',
    () => codes.length === 0,
    () => clock.advance(1_000),
  );
  expect(names()).toEqual(['settings']);
  expect(changes).toEqual(['added settings']);
  expect(informer.hasSynced()).toBe(true);
  expect(informer.lastSyncAgeMs()).toBeGreaterThan(0);
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

test('a half-open connection is replaced when nothing came for longer than the watch may last', async () => {
  // Only the timers of the code under test are faked: the sockets are real.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const server = await startScriptedApiServer();
    const client = await connect(server);
    const informer = createInformer<ConfigMap>({ type: configMapType }, { client, random: () => 0.5 });
    const signal = testSignal();
    informer.start(signal);
    await spin(() => server.watches.length === 1);
    const [first] = server.watches;
    first?.mute();
    server.put(configMaps, configMap('unseen'));
    await spin(
      () => server.watches.length === 2 || server.watches[0] !== first,
      () => vi.advanceTimersByTime(10_000),
    );
    await spin(
      () => informer.cache.size === 1,
      () => vi.advanceTimersByTime(100),
    );
    expect(lists(server)).toBe(1);
    client.close();
    await server.close();
  } finally {
    vi.useRealTimers();
  }
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

test('an informer that starts while the server is away gets there when it is back', async () => {
  const server = await startServer();
  const client = await connect(server);
  const clock = createManualClock();
  let away = true;
  server.intercept((_request, response) => {
    if (away) response.socket?.resetAndDestroy();
    return away;
  });
  const informer = createInformer<ConfigMap>({ type: configMapType }, { client, clock, random: () => 0.5 });
  informer.start(testSignal());
  await until(
    'it has tried some times',
    () => server.requests.length >= 6,
    () => clock.advance(1_000),
  );
  expect(informer.hasSynced()).toBe(false);
  away = false;
  await until('it has synced', informer.hasSynced, () => clock.advance(10_000));
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

/** `until` without timers, for tests that fake them. */
async function spin(holds: () => boolean, meanwhile: () => void = () => {}): Promise<void> {
  for (let turn = 0; turn < 200_000 && !holds(); turn += 1) {
    if (turn % 50 === 0) meanwhile();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(holds()).toBe(true);
}
