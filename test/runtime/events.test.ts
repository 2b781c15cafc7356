import { expect, test } from 'vitest';
import { createEventRecorder, type EventInput, type EventRecorder } from '../../src/runtime/events.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { createManualClock, type ManualClock } from '../support/manual-clock.ts';
import { refuse, type ScriptedApiServer } from '../support/scripted-api-server.ts';
import { configMap, connect, startServer } from './connect.ts';

const switchover: EventInput = {
  type: 'Normal',
  reason: 'SwitchoverDone',
  action: 'Switchover',
  note: 'shop-s0-1 is the primary now',
};

interface World {
  readonly server: ScriptedApiServer;
  readonly recorder: EventRecorder;
  readonly clock: ManualClock;
  readonly object: KubernetesObject;
  bodies(method: string): Record<string, unknown>[];
}

async function createWorld(): Promise<World> {
  const server = await startServer();
  const clock = createManualClock();
  const client = await connect(server);
  const recorder = createEventRecorder({
    client,
    clock,
    component: 'herdsman.dev/operator',
    instance: 'herdsman-0',
  });
  const object = configMap('shop');
  object.metadata.uid = 'uid-1';
  const bodies = (method: string): Record<string, unknown>[] =>
    server.requests.filter((request) => request.method === method).map(({ body }) => JSON.parse(body));
  return { server, recorder, clock, object, bodies };
}

test('an event carries old and new fields, so that every kubectl shows it', async () => {
  const { recorder, object, bodies } = await createWorld();
  recorder.record(object, switchover);
  await recorder.flush();
  expect(bodies('POST')).toMatchObject([
    {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { namespace: 'shop', name: expect.stringMatching(/^shop\.[0-9a-f]{16}$/) },
      involvedObject: { kind: 'ConfigMap', name: 'shop', namespace: 'shop', uid: 'uid-1' },
      type: 'Normal',
      reason: 'SwitchoverDone',
      action: 'Switchover',
      message: 'shop-s0-1 is the primary now',
      eventTime: '2026-01-01T00:00:00.000000Z',
      firstTimestamp: '2026-01-01T00:00:00Z',
      count: 1,
      reportingComponent: 'herdsman.dev/operator',
      reportingInstance: 'herdsman-0',
    },
  ]);
});

test('repeats become a count on the first event, written now and then', async () => {
  const { recorder, object, bodies, clock } = await createWorld();
  for (let time = 0; time < 50; time += 1) recorder.record(object, switchover);
  await recorder.flush();
  expect(bodies('POST').length).toBe(1);
  expect(bodies('PATCH')).toMatchObject([{ count: 50, series: { count: 50 } }]);
  for (let second = 0; second < 120; second += 1) {
    recorder.record(object, switchover);
    clock.advance(1_000);
  }
  await recorder.flush();
  expect(bodies('POST').length).toBe(1);
  expect(bodies('PATCH').length).toBeLessThanOrEqual(6);
  expect(bodies('PATCH').at(-1)).toMatchObject({ count: 170 });
});

test('what happens again long after is a new event', async () => {
  const { recorder, object, bodies, clock } = await createWorld();
  recorder.record(object, switchover);
  clock.advance(600_000);
  recorder.record(object, switchover);
  await recorder.flush();
  expect(bodies('POST').length).toBe(2);
});

test('one object that says something new all the time is limited, others are not', async () => {
  const { recorder, object, bodies } = await createWorld();
  for (let time = 0; time < 100; time += 1)
    recorder.record(object, { ...switchover, note: `attempt ${time}` });
  const other = { ...object, metadata: { ...object.metadata, name: 'other', uid: 'uid-2' } };
  recorder.record(other, switchover);
  await recorder.flush();
  expect(bodies('POST').length).toBe(26);
});

test('an event that the server refuses harms nobody, and the next one starts anew', async () => {
  const { server, recorder, object, bodies } = await createWorld();
  const unhook = server.intercept((_request, response) => {
    refuse(response, 403, 'Forbidden');
    return true;
  });
  recorder.record(object, switchover);
  await recorder.flush();
  unhook();
  recorder.record(object, switchover);
  await recorder.flush();
  expect(bodies('POST').length).toBe(2);
  expect(server.find('/api/v1/events', 'shop', String(nameOf(bodies('POST')[1])))).toBeDefined();
});

test('an event that the server has removed meanwhile is written anew', async () => {
  const { server, recorder, object, bodies } = await createWorld();
  recorder.record(object, switchover);
  await recorder.flush();
  server.remove('/api/v1/events', 'shop', String(nameOf(bodies('POST')[0])));
  server.intercept((request, response) => {
    if (request.method !== 'PATCH') return false;
    refuse(response, 404, 'NotFound');
    return true;
  });
  recorder.record(object, switchover);
  await recorder.flush();
  recorder.record(object, switchover);
  await recorder.flush();
  expect(bodies('POST').length).toBe(2);
});

test('a note is cut to what the API server takes, and cluster-scoped objects report in the default namespace', async () => {
  const { recorder, bodies } = await createWorld();
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1', uid: 'uid-3' } };
  recorder.record(node, { ...switchover, note: 'x'.repeat(5_000) });
  await recorder.flush();
  // It counts bytes, of which the ellipsis has three.
  expect(bodies('POST')[0]?.message).toBe(`${'x'.repeat(1_021)}…`);
  expect(bodies('POST')[0]?.metadata).toMatchObject({ namespace: 'default' });
  recorder.record(node, { ...switchover, note: `x${'é'.repeat(600)}` });
  await recorder.flush();
  expect(bodies('POST')[1]?.message).toBe(`x${'é'.repeat(510)}…`);
  recorder.record(node, { ...switchover, note: 'é'.repeat(512) });
  await recorder.flush();
  expect(bodies('POST')[2]?.message).toBe('é'.repeat(512));
});

function nameOf(event: Record<string, unknown> | undefined): unknown {
  return (event?.metadata as Record<string, unknown> | undefined)?.name;
}
