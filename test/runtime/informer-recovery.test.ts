import type { ServerResponse } from 'node:http';
import { expect, test, vi } from 'vitest';
import { createInformer } from '../../src/runtime/informer.ts';
import { configMapType } from '../../src/runtime/kubernetes-types.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { refuse, type ScriptedApiServer, startScriptedApiServer } from '../support/scripted-api-server.ts';
import { type ConfigMap, configMap, configMaps, connect, startServer, testSignal, until } from './connect.ts';
import { follow, lists, watchRequests } from './follow.ts';

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

test.each<[string, (response: ServerResponse) => void, what: (server: ScriptedApiServer) => number]>([
  ['answers every watch with 410', (response) => refuse(response, 410, 'Expired'), lists],
  [
    'ends every watch at once',
    (response) => response.writeHead(200).end(),
    (server) => watchRequests(server).length,
  ],
])('a server that %s is not asked in a tight loop', async (_, answer, asked) => {
  const server = await startServer();
  const { clock, changes } = await follow(server);
  // After an event the watch has been of use, so that its end alone makes nobody wait.
  server.put(configMaps, configMap('settings'));
  await until('the change came', () => changes.length === 1);
  server.intercept((request, response) => {
    if (!request.query.has('watch')) return false;
    answer(response);
    return true;
  });
  server.watches[0]?.end();
  // The clock stands still: only what needs no waiting can happen.
  await until('it waits', () => clock.timers > 0);
  expect(asked(server)).toBeLessThanOrEqual(3);
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

test('where bookmarks come, a watch that never had one is taken for dead as soon as one that had', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const server = await startScriptedApiServer();
    const client = await connect(server);
    const informer = createInformer<ConfigMap>({ type: configMapType }, { client, random: () => 0.5 });
    informer.start(testSignal());
    await spin(() => server.watches.length === 1);
    const [first] = server.watches;
    server.bookmark();
    first?.end();
    await spin(() => server.watches.length === 1 && server.watches[0] !== first);
    server.put(configMaps, configMap('seen'));
    await spin(() => informer.cache.size === 1);
    server.watches[0]?.mute();
    server.put(configMaps, configMap('unseen'));
    // The watch itself may last for 450 s.
    vi.advanceTimersByTime(250_000);
    await spin(
      () => informer.cache.size === 2,
      () => vi.advanceTimersByTime(1),
    );
    expect(lists(server)).toBe(1);
    client.close();
    await server.close();
  } finally {
    vi.useRealTimers();
  }
});

test('a list that goes on failing is asked for ever more rarely', async () => {
  const server = await startServer();
  const client = await connect(server);
  const clock = createManualClock();
  server.intercept((_request, response) => {
    refuse(response, 403, 'Forbidden');
    return true;
  });
  const informer = createInformer<ConfigMap>({ type: configMapType }, { client, clock, random: () => 0.5 });
  informer.start(testSignal());
  for (let second = 0; second < 300; second += 1) {
    await until('it waits', () => clock.timers === 1);
    clock.advance(1_000);
  }
  // Six within the first 32 s, then one in each 30 s.
  expect(lists(server)).toBeLessThan(20);
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

/** `until` without timers, for tests that fake them. */
async function spin(holds: () => boolean, meanwhile: () => void = () => {}): Promise<void> {
  for (let turn = 0; turn < 200_000 && !holds(); turn += 1) {
    if (turn % 50 === 0) meanwhile();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(holds()).toBe(true);
}
