import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isConflict } from '../../src/runtime/api-error.ts';
import { createEventRecorder } from '../../src/runtime/events.ts';
import { createInformer } from '../../src/runtime/informer.ts';
import type { KubeClient } from '../../src/runtime/kube-client.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import {
  configMapType,
  eventType,
  leaseType,
  namespaceType,
  podType,
} from '../../src/runtime/kubernetes-types.ts';
import { createLeaderElection, type LeaderElection } from '../../src/runtime/leader-election.ts';
import { kube } from '../support/cluster.ts';
import { waitUntil } from '../support/wait.ts';

interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
}

const namespace = `runtime-${randomBytes(4).toString('hex')}`;
const end = new AbortController();
let client: KubeClient;

beforeAll(async () => {
  client = await kube();
  await client.create(namespaceType, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
});

afterAll(async () => {
  end.abort();
  await client.delete(namespaceType, { namespace: '', name: namespace });
});

function configMap(name: string, data: Record<string, string> = {}): ConfigMap {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace, name, labels: { 'herdsman.dev/test': 'runtime' } },
    data,
  };
}

test('a list-watch sees what is created, changed and deleted, once each', async () => {
  const selection = { namespaces: [namespace], labelSelector: 'herdsman.dev/test=runtime' };
  const informer = createInformer<ConfigMap>({ type: configMapType, ...selection }, { client });
  const changes: string[] = [];
  informer.onChange(({ kind, old, current }) => changes.push(`${kind} ${(current ?? old)?.metadata.name}`));
  informer.start(end.signal);
  await informer.waitForSync(AbortSignal.timeout(30_000));
  const made = await client.create(configMapType, configMap('seen', { mode: 'a' }));
  await client.update(configMapType, { ...made, data: { mode: 'b' } });
  await client.delete(configMapType, { namespace, name: 'seen' }, { uid: made.metadata.uid });
  await waitUntil(
    'all changes came',
    () => changes.length >= 3,
    () => changes,
    { everyMs: 20 },
  );
  expect(changes).toEqual(['added seen', 'updated seen', 'deleted seen']);
});

test('the cache knows when it has seen our own write', async () => {
  const informer = createInformer<ConfigMap>({ type: configMapType, namespaces: [namespace] }, { client });
  informer.start(end.signal);
  await informer.waitForSync(AbortSignal.timeout(30_000));
  const made = await client.create(configMapType, configMap('written'));
  const version = made.metadata.resourceVersion ?? '';
  await waitUntil('it was seen', () => informer.cache.hasSeen(version, namespace), undefined, {
    everyMs: 20,
  });
  expect(informer.cache.get({ namespace, name: 'written' })?.metadata.uid).toBe(made.metadata.uid);
});

test('a list over several pages is whole', async () => {
  const names = Array.from({ length: 7 }, (_, number) => `page-${number}`);
  await Promise.all(names.map((name) => client.create(configMapType, configMap(name))));
  const page = await client.listAll<ConfigMap>(configMapType, { namespace, limit: 2 });
  const found = page.items.map(({ metadata }) => metadata.name).filter((name) => name.startsWith('page-'));
  expect(found).toEqual(names);
});

test('a fresh resourceVersion can be watched, and one from before all time is refused as expired', async () => {
  const watch = client.watch(configMapType, { namespace, resourceVersion: '1', timeoutSeconds: 5 });
  await expect(watch.next()).rejects.toMatchObject({ status: 410 });
});

test('server-side apply: another manager owning a field is a conflict, unless forced', async () => {
  await client.apply(configMapType, configMap('applied', { mode: 'a' }), { fieldManager: 'first' });
  const contested = configMap('applied', { mode: 'b' });
  const error = await client
    .apply(configMapType, contested, { fieldManager: 'second' })
    .catch((caught: unknown) => caught);
  expect(isConflict(error)).toBe(true);
  const forced = await client.apply<ConfigMap>(configMapType, contested, {
    fieldManager: 'second',
    force: true,
  });
  expect(forced.data).toEqual({ mode: 'b' });
});

test('an apply that changes nothing writes nothing', async () => {
  const first = await client.apply(configMapType, configMap('quiet', { mode: 'a' }));
  const second = await client.apply(configMapType, configMap('quiet', { mode: 'a' }));
  expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
});

test('a delete with a wrong uid or an old resourceVersion is refused', async () => {
  const made = await client.create(configMapType, configMap('kept'));
  const key = { namespace, name: 'kept' };
  const wrong = { uid: '00000000-0000-0000-0000-000000000000' };
  expect(isConflict(await client.delete(configMapType, key, wrong).catch((caught: unknown) => caught))).toBe(
    true,
  );
  const changed = await client.update(configMapType, { ...made, data: { mode: 'b' } });
  const { resourceVersion } = made.metadata;
  const stale = await client
    .delete(configMapType, key, { resourceVersion })
    .catch((caught: unknown) => caught);
  expect(isConflict(stale)).toBe(true);
  expect(await client.delete(configMapType, key, { uid: changed.metadata.uid })).toBe('gone');
  expect(await client.delete(configMapType, key)).toBe('absent');
  expect(await client.get(configMapType, key)).toBeUndefined();
});

test('an object that a finalizer holds is said to be deleting', async () => {
  const object = configMap('held');
  object.metadata.finalizers = ['herdsman.dev/test'];
  await client.create(configMapType, object);
  const key = { namespace, name: 'held' };
  expect(await client.delete(configMapType, key)).toBe('deleting');
  await client.patch(configMapType, key, { metadata: { finalizers: null } }, { type: 'merge' });
  expect(await client.get(configMapType, key)).toBeUndefined();
});

test('a type that is not installed is unknown, not absent', async () => {
  const type = {
    group: 'none.herdsman.dev',
    version: 'v1',
    plural: 'nothings',
    kind: 'Nothing',
    namespaced: true,
  };
  expect(await client.read(type, { namespace, name: 'x' })).toMatchObject({ state: 'unknown' });
  expect(await client.read(podType, { namespace, name: 'x' })).toEqual({ state: 'absent' });
});

test('two candidates: one leads, and the other follows at once when it steps down', async () => {
  const leading: string[] = [];
  function stand(identity: string): {
    election: LeaderElection;
    stop: AbortController;
    ended: Promise<string>;
  } {
    const stop = new AbortController();
    const election = createLeaderElection({
      client,
      lease: { namespace, name: 'election' },
      identity,
      onStartedLeading: () => leading.push(identity),
    });
    return { election, stop, ended: election.run(stop.signal) };
  }
  const first = stand('first');
  await waitUntil('the first leads', first.election.isLeader, undefined, { everyMs: 20 });
  const second = stand('second');
  const key = { namespace, name: 'election' };
  expect(await client.get(leaseType, key)).toMatchObject({
    spec: { holderIdentity: 'first', leaseTransitions: 0 },
  });
  first.stop.abort();
  expect(await first.ended).toBe('released');
  await waitUntil('the second leads', second.election.isLeader, undefined, { everyMs: 20 });
  expect(leading).toEqual(['first', 'second']);
  expect(await client.get(leaseType, key)).toMatchObject({ spec: { holderIdentity: 'second' } });
  second.stop.abort();
  expect(await second.ended).toBe('released');
});

test('events are accepted and their repeats counted', async () => {
  const regarding = await client.create(configMapType, configMap('told'));
  const recorder = createEventRecorder({ client, component: 'herdsman.dev/test', instance: 'test-0' });
  const event = { type: 'Normal', reason: 'Tested', action: 'Test', note: 'a note' } as const;
  for (let time = 0; time < 3; time += 1) recorder.record(regarding, event);
  await recorder.flush();
  const fieldSelector = 'involvedObject.name=told';
  const { items } = await client.listAll(eventType, { namespace, fieldSelector });
  expect(items).toMatchObject([
    { reason: 'Tested', count: 3, series: { count: 3 }, reportingComponent: 'herdsman.dev/test' },
  ]);
});
