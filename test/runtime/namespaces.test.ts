import { expect, onTestFinished, test } from 'vitest';
import { defineController } from '../../src/runtime/controller.ts';
import { createInformer } from '../../src/runtime/informer.ts';
import { configMapType, podType } from '../../src/runtime/kubernetes-types.ts';
import { watchNamespaces } from '../../src/runtime/namespaces.ts';
import { createManualClock } from '../support/manual-clock.ts';
import { refuse } from '../support/scripted-api-server.ts';
import { type ConfigMap, configMap, configMaps, connect, startServer, until } from './connect.ts';

/** Two kinds in the namespaces `shop` and `gone`, of which `refused` says what the server refuses. */
async function start(refused: (path: string) => boolean) {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const lost = configMap('lost');
  server.put(configMaps, { ...lost, metadata: { ...lost.metadata, namespace: 'gone' } });
  server.intercept((request, response) => {
    if (!refused(request.path)) return false;
    refuse(response, 403, 'Forbidden');
    return true;
  });
  const client = await connect(server);
  const clock = createManualClock();
  const namespaces = ['shop', 'gone'];
  const dependencies = { client, clock, random: () => 0.5 };
  const source = createInformer<ConfigMap>({ type: configMapType, namespaces }, dependencies);
  const pods = createInformer({ type: podType, namespaces }, dependencies);
  const told: string[] = [];
  const watched = watchNamespaces([source, pods], {
    onLeftOut: (namespace, isLeftOut) => told.push(`${namespace} ${isLeftOut ? 'out' : 'in'}`),
  });
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const reconciled: string[] = [];
  const controller = defineController({
    name: 'settings',
    source,
    async reconcile(key) {
      reconciled.push(`${key.namespace}/${key.name}`);
      return undefined;
    },
  });
  let isSettled = false;
  void watched.settled(stop.signal).then(
    () => {
      isSettled = true;
      controller.start({ signal: stop.signal, namespaces: watched });
    },
    () => undefined,
  );
  source.start(stop.signal);
  pods.start(stop.signal);
  return { server, source, clock, watched, told, reconciled, isSettled: () => isSettled };
}

test('a namespace that is refused for long is left out, and taken up when all of it can be listed', async () => {
  let refused = /namespaces\/gone\//;
  const world = await start((path) => refused.test(path));
  await until('it works', world.isSettled, () => world.clock.advance(1_000));
  expect(world.clock.monotonicMs()).toBeGreaterThanOrEqual(60_000);
  expect(world.told).toEqual(['gone out']);
  expect(world.watched.problem()).toBeUndefined();
  await until('the other is looked after', () => world.reconciled.length === 1);
  expect(world.reconciled).toEqual(['shop/settings']);

  // Of two kinds one can be listed: what is in the cache is half of the namespace.
  refused = /namespaces\/gone\/pods/;
  const isListed = () => world.source.hasSynced('gone');
  await until('one kind is listed', isListed, () => world.clock.advance(1_000));
  expect(world.source.cache.list('gone')).toHaveLength(1);
  expect(world.watched.isComplete('gone')).toBe(false);

  refused = /nothing/;
  const isThere = () => world.reconciled.includes('gone/lost');
  await until('it is taken up', isThere, () => world.clock.advance(1_000));
  expect(world.watched.isComplete('gone')).toBe(true);
  expect(world.told).toEqual(['gone out', 'gone in']);
});

test.each([
  { what: 'one kind in it', refused: /namespaces\/gone\/pods/, problem: 'not synced yet: pods' },
  { what: 'every namespace', refused: /namespaces/, problem: 'not synced: every list is refused' },
])('nobody works while $what is refused', async ({ refused, problem }) => {
  const world = await start((path) => refused.test(path));
  const isLate = () => world.clock.monotonicMs() > 300_000 && world.watched.problem() === problem;
  await until('time has passed', isLate, () => world.clock.advance(1_000));
  expect(world.isSettled()).toBe(false);
  expect(world.reconciled).toEqual([]);
});
