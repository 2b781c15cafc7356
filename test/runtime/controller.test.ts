import { expect, test } from 'vitest';
import {
  type ControllerDefinition,
  defineController,
  type Outcome,
  type RunningController,
} from '../../src/runtime/controller.ts';
import { createExpectations } from '../../src/runtime/expectations.ts';
import { createInformer, type Informer } from '../../src/runtime/informer.ts';
import type { KubeClient } from '../../src/runtime/kube-client.ts';
import { keyString } from '../../src/runtime/kubernetes-object.ts';
import { configMapType, podType, serviceType } from '../../src/runtime/kubernetes-types.ts';
import { writeStatus } from '../../src/runtime/status-writer.ts';
import { changed, labelled, ownedBy } from '../../src/runtime/watches.ts';
import { createManualClock, type ManualClock } from '../support/manual-clock.ts';
import { refuse, type ScriptedApiServer } from '../support/scripted-api-server.ts';
import { type ConfigMap, configMap, configMaps, connect, startServer, testSignal, until } from './connect.ts';

interface World {
  readonly server: ScriptedApiServer;
  readonly client: KubeClient;
  readonly source: Informer<ConfigMap>;
  readonly clock: ManualClock;
  readonly outcomes: Outcome[];
  readonly leadership: AbortController;
  start(
    definition: Partial<ControllerDefinition<ConfigMap>> & Pick<ControllerDefinition<ConfigMap>, 'reconcile'>,
  ): RunningController;
}

async function createWorld(): Promise<World> {
  const server = await startServer();
  const client = await connect(server);
  const clock = createManualClock();
  const outcomes: Outcome[] = [];
  const leadership = new AbortController();
  const source = createInformer<ConfigMap>({ type: configMapType }, { client });
  source.start(testSignal());
  await source.waitForSync(testSignal());
  return {
    server,
    client,
    source,
    clock,
    outcomes,
    leadership,
    start: (definition) =>
      defineController({ name: 'test', source, ...definition }).start({
        signal: leadership.signal,
        clock,
        random: () => 0.5,
        onReconciled: (outcome) => outcomes.push(outcome),
      }),
  };
}

/** A promise that a test resolves. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

test('what is there, and each change, is reconciled', async () => {
  const world = await createWorld();
  world.server.put(configMaps, configMap('first'));
  await until('it is cached', () => world.source.cache.size === 1);
  const keys: string[] = [];
  world.start({ reconcile: async (key) => void keys.push(keyString(key)) });
  await until('the first is done', () => keys.length === 1);
  world.server.put(configMaps, configMap('second'));
  await until('the second is done', () => keys.length === 2);
  world.server.remove(configMaps, 'shop', 'first');
  await until('the deletion is done', () => keys.length === 3);
  expect(keys).toEqual(['shop/first', 'shop/second', 'shop/first']);
});

test('a controller does not start on half a world', async () => {
  const world = await createWorld();
  const unsynced = createInformer({ type: podType }, { client: world.client });
  expect(() =>
    world.start({ watches: [labelled(unsynced, 'app')], reconcile: async () => undefined }),
  ).toThrow('before its informers had synced');
});

test('a key that changes while it is worked on is never worked on twice at once, but once more after', async () => {
  const world = await createWorld();
  const first = gate();
  let runs = 0;
  let atOnce = 0;
  let mostAtOnce = 0;
  world.start({
    concurrency: 4,
    sourceWhen: () => true,
    reconcile: async () => {
      runs += 1;
      atOnce += 1;
      mostAtOnce = Math.max(mostAtOnce, atOnce);
      if (runs === 1) await first.opened;
      atOnce -= 1;
      return undefined;
    },
  });
  world.server.put(configMaps, configMap('settings', { n: '0' }));
  await until('it is worked on', () => runs === 1);
  for (let n = 1; n <= 5; n += 1) world.server.put(configMaps, configMap('settings', { n: String(n) }));
  const last = { namespace: 'shop', name: 'settings' };
  await until('all changes are cached', () => world.source.cache.get(last)?.data?.n === '5');
  expect(runs).toBe(1);
  first.open();
  await until('it ran again', () => world.outcomes.length === 2);
  expect({ runs, mostAtOnce }).toEqual({ runs: 2, mostAtOnce: 1 });
});

test('a failing key is tried again with growing delays, and another key is not held up', async () => {
  const world = await createWorld();
  const attempts: number[] = [];
  const keys: string[] = [];
  world.start({
    concurrency: 1,
    reconcile: async (key, { failures }) => {
      keys.push(key.name);
      if (key.name !== 'bad') return undefined;
      attempts.push(world.clock.monotonicMs());
      if (failures < 4) throw new Error('not yet');
      return undefined;
    },
  });
  world.server.put(configMaps, configMap('bad'));
  await until('it failed once', () => world.outcomes.length === 1);
  world.server.put(configMaps, configMap('good'));
  await until('the other is done', () => keys.includes('good'));
  await until(
    'it succeeded',
    () => attempts.length === 5,
    () => world.clock.advance(50),
  );
  const gaps = attempts.slice(1).map((at, index) => at - (attempts[index] ?? 0));
  expect(gaps).toEqual(gaps.toSorted((a, b) => a - b));
  expect(gaps[3]).toBeGreaterThan((gaps[0] ?? 0) * 4);
});

test('the server names the time after which a refused write is tried again', async () => {
  const world = await createWorld();
  const at: number[] = [];
  const unhook = world.server.intercept((request, response) => {
    if (request.method !== 'POST') return false;
    refuse(response, 429, 'TooManyRequests', { 'retry-after': '7' });
    return true;
  });
  world.start({
    reconcile: async (_, { signal }) => {
      at.push(world.clock.monotonicMs());
      await world.client.create(configMapType, configMap('made'), { signal, timeoutMs: 1_000 });
      return undefined;
    },
  });
  world.server.put(configMaps, configMap('settings'));
  await until('it failed', () => world.outcomes.includes('error'));
  unhook();
  await until(
    'it ran again',
    () => at.length >= 2,
    () => world.clock.advance(500),
  );
  expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(7_000);
});

test('an error that only a person can mend waits for minutes, or for the change itself', async () => {
  const world = await createWorld();
  let runs = 0;
  world.start({
    sourceWhen: () => true,
    classifyError: () => ({ retry: 'slowly' }),
    reconcile: async () => {
      runs += 1;
      throw new Error('the spec is wrong');
    },
  });
  world.server.put(configMaps, configMap('settings'));
  await until('it failed', () => world.outcomes.length === 1);
  world.clock.advance(120_000);
  expect(runs).toBe(1);
  world.server.put(configMaps, configMap('settings', { mended: 'yes' }));
  await until('the change woke it', () => runs === 2);
});

test('requeueAfterMs brings the key back', async () => {
  const world = await createWorld();
  let runs = 0;
  world.start({
    reconcile: async () => {
      runs += 1;
      return { requeueAfterMs: 30_000 };
    },
  });
  world.server.put(configMaps, configMap('settings'));
  await until('it ran', () => world.outcomes.length === 1);
  world.clock.advance(29_999);
  expect(runs).toBe(1);
  world.clock.advance(1);
  await until('it ran again', () => world.outcomes.length === 2);
  expect(world.outcomes).toEqual(['requeue', 'requeue']);
});

test('a reconcile over its time limit is aborted, and tried again', async () => {
  const world = await createWorld();
  let runs = 0;
  let isLeading = false;
  world.start({
    reconcileTimeoutMs: 5_000,
    reconcile: async (_, { signal, leading }) => {
      runs += 1;
      if (runs > 1) return undefined;
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      isLeading = !leading.aborted;
      throw signal.reason;
    },
  });
  world.server.put(configMaps, configMap('settings'));
  await until('it runs', () => runs === 1);
  world.clock.advance(5_000);
  await until(
    'it ran again',
    () => world.outcomes.length === 2,
    () => world.clock.advance(100),
  );
  expect(world.outcomes).toEqual(['timeout', 'success']);
  expect(isLeading).toBe(true);
});

test('losing leadership aborts the work at once and starts no other', async () => {
  const world = await createWorld();
  const reasons: unknown[] = [];
  let runs = 0;
  const running = world.start({
    concurrency: 1,
    reconcile: async (_, { signal, leading }) => {
      runs += 1;
      leading.addEventListener('abort', () => reasons.push(leading.reason), { once: true });
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      reasons.push(signal.reason);
      signal.throwIfAborted();
      return undefined;
    },
  });
  world.server.put(configMaps, configMap('first'));
  world.server.put(configMaps, configMap('second'));
  await until('one runs and one waits', () => runs === 1 && running.queue.depth === 1);
  world.leadership.abort(new Error('leadership lost'));
  await running.stop(0);
  expect(reasons).toEqual([new Error('leadership lost'), new Error('leadership lost')]);
  expect({ runs, outcomes: world.outcomes }).toEqual({ runs: 1, outcomes: ['aborted'] });
});

test('a stop lets running work finish, and aborts it only after the grace', async () => {
  const world = await createWorld();
  const finish = gate();
  let runs = 0;
  const running = world.start({
    reconcile: async (key, { signal }) => {
      runs += 1;
      if (key.name === 'patient') await finish.opened;
      else await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      return undefined;
    },
  });
  world.server.put(configMaps, configMap('patient'));
  world.server.put(configMaps, configMap('stubborn'));
  await until('both run', () => runs === 2);
  let stopped = false;
  const stopping = running.stop(10_000).then(() => {
    stopped = true;
  });
  world.server.put(configMaps, configMap('late'));
  await until('the late one is cached', () => world.source.cache.size === 3);
  finish.open();
  await until('the first finished', () => world.outcomes.length === 1);
  expect({ stopped, runs, outcomes: world.outcomes }).toEqual({
    stopped: false,
    runs: 2,
    outcomes: ['success'],
  });
  world.clock.advance(10_000);
  await stopping;
  expect(world.outcomes).toEqual(['success', 'aborted']);
});

test('a stop ends also what a pass began and did not wait for', async () => {
  const world = await createWorld();
  let leading: AbortSignal | undefined;
  const running = world.start({
    reconcile: async (_, context) => {
      leading = context.leading;
      return undefined;
    },
  });
  world.server.put(configMaps, configMap('a'));
  await until('it ran', () => leading !== undefined);
  await running.stop(10_000);
  expect(leading?.aborted).toBe(true);
});

test('secondary objects wake their owner, by reference and by label', async () => {
  const world = await createWorld();
  const signal = testSignal();
  const pods = createInformer({ type: podType }, { client: world.client });
  const services = createInformer({ type: serviceType }, { client: world.client });
  for (const informer of [pods, services]) informer.start(signal);
  await Promise.all([pods, services].map((informer) => informer.waitForSync(signal)));
  const keys: string[] = [];
  world.start({
    watches: [ownedBy(pods, configMapType), labelled(services, 'herdsman.dev/cluster', changed('spec'))],
    reconcile: async (key) => void keys.push(keyString(key)),
  });
  const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: 'u', controller: true };
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'shop', name: 'p', ownerReferences: [owner] },
  };
  world.server.put('/api/v1/pods', pod);
  await until('the owner was reconciled', () => keys.length === 1);
  const service = (port: number, status: string) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'shop', name: 's', labels: { 'herdsman.dev/cluster': 'labelled' } },
    spec: { port },
    status: { status },
  });
  world.server.put('/api/v1/services', service(1, 'a'));
  await until('the cluster was reconciled', () => keys.length === 2);
  world.server.put('/api/v1/services', service(1, 'b'));
  world.server.put('/api/v1/services', service(2, 'b'));
  await until('the change of spec came', () => keys.length === 3);
  expect(keys).toEqual(['shop/owner', 'shop/labelled', 'shop/labelled']);
});

test('a plan waits until the cache has seen our own write', async () => {
  const world = await createWorld();
  const expectations = createExpectations({ clock: world.clock });
  await until('it watches', () => world.server.watches.length === 1);
  const [watch] = world.server.watches;
  watch?.mute();
  const made = await world.client.create(configMapType, configMap('made'));
  expectations.expectWritten('shop/owner', world.source.cache, made);
  expect(expectations.pending('shop/owner').length).toBe(1);
  watch?.reset();
  await until('the cache has caught up', () => expectations.pending('shop/owner').length === 0);
  expect(world.source.cache.get({ namespace: 'shop', name: 'made' })).toBeDefined();
});

test('a status is written once, and not at all when it says nothing new', async () => {
  const world = await createWorld();
  const object = world.server.put(configMaps, {
    ...configMap('settings'),
    status: { ready: 1, note: undefined },
  });
  const before = world.server.requests.length;
  const same = await writeStatus(
    world.client,
    configMapType,
    { ...object, status: { ready: 1 } },
    { ready: 1 },
  );
  expect(same.changed).toBe(false);
  expect(world.server.requests.length).toBe(before);
  const written = await writeStatus(world.client, configMapType, object, { ready: 2 });
  expect(written).toMatchObject({ changed: true, object: { status: { ready: 2 } } });
  expect(JSON.parse(world.server.requests.at(-1)?.body ?? '')).toEqual({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'settings', namespace: 'shop', uid: object.metadata.uid },
    status: { ready: 2 },
  });
});

test('a status never lands on a namesake made since', async () => {
  const world = await createWorld();
  const object = world.server.put(configMaps, configMap('settings'));
  world.server.remove(configMaps, 'shop', 'settings');
  world.server.put(configMaps, configMap('settings'));
  await expect(writeStatus(world.client, configMapType, object, { ready: 2 })).rejects.toMatchObject({
    status: 409,
  });
});
