import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { defineController } from '../../src/runtime/controller.ts';
import type { EventRecorder } from '../../src/runtime/events.ts';
import { createInformer } from '../../src/runtime/informer.ts';
import { configMapType } from '../../src/runtime/kubernetes-types.ts';
import { createRuntimeMetrics } from '../../src/runtime/metrics.ts';
import { type Ending, runOperator } from '../../src/runtime/process.ts';
import type { ScriptedApiServer } from '../support/scripted-api-server.ts';
import { type ConfigMap, configMap, configMaps, connect, startServer, until } from './connect.ts';

const leases = '/apis/coordination.k8s.io/v1/leases';

interface Run {
  readonly server: ScriptedApiServer;
  readonly stop: AbortController;
  readonly ended: Promise<Ending>;
  readonly reconciled: string[];
  probe(path: string): Promise<{ status: number; text: string }>;
}

async function run(
  server: ScriptedApiServer,
  options: {
    work?: () => Promise<void>;
    identity?: string;
    graceMs?: number;
    events?: EventRecorder;
  } = {},
): Promise<Run> {
  const metrics = createRuntimeMetrics();
  const client = await connect(server, { onRequest: metrics.request });
  const source = createInformer<ConfigMap>(
    { type: configMapType },
    { client, onRestart: metrics.watchRestarted },
  );
  const reconciled: string[] = [];
  const controller = defineController({
    name: 'settings',
    source,
    async reconcile(key) {
      reconciled.push(key.name);
      await options.work?.();
      return undefined;
    },
  });
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const serving = Promise.withResolvers<number>();
  const ended = runOperator(
    {
      client,
      informers: [source],
      controllers: [controller],
      metrics,
      healthPort: 0,
      healthHost: '127.0.0.1',
      election: {
        lease: { namespace: 'herdsman-system', name: 'herdsman' },
        identity: options.identity ?? 'a',
        leaseDurationMs: 3_000,
        renewDeadlineMs: 2_000,
        retryPeriodMs: 100,
      },
      onHealthServing: serving.resolve,
      graceMs: options.graceMs,
      events: options.events,
    },
    stop.signal,
  );
  const port = await serving.promise;
  return {
    server,
    stop,
    ended,
    reconciled,
    async probe(path) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      return { status: response.status, text: await response.text() };
    },
  };
}

test('the process is alive from the start and ready when its caches are filled', async () => {
  const server = await startServer();
  let closed = true;
  server.intercept((request) => closed && request.path.endsWith('/configmaps'));
  const { probe, reconciled, stop, ended } = await run(server);
  expect(await probe('/healthz')).toEqual({ status: 200, text: 'ok' });
  expect(await probe('/readyz')).toEqual({ status: 503, text: 'not synced yet: configmaps' });
  expect(server.count('GET', /leases/)).toBe(0);
  stop.abort();
  expect(await ended).toBe('stopped');
  closed = false;
  expect(reconciled).toEqual([]);
});

test('it works as leader, tells so in its metrics, and gives the lease back on the stop', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const { probe, reconciled, stop, ended } = await run(server);
  await until('it reconciled', () => reconciled.length === 1);
  expect(await probe('/readyz')).toEqual({ status: 200, text: 'ok' });
  expect(await probe('/nothing')).toMatchObject({ status: 404 });
  await until('the reconcile is counted', () => reconciled.length === 1);
  const { text } = await probe('/metrics');
  expect(text).toContain('herdsman_leader 1');
  expect(text).toContain('herdsman_api_requests_total{verb="list",resource="configmaps",code="200"} 1');
  expect(text).toMatch(/herdsman_queue_wait_seconds_count\{controller="settings"\} 1/);
  stop.abort();
  expect(await ended).toBe('stopped');
  expect(server.find(leases, 'herdsman-system', 'herdsman')?.spec).toMatchObject({ holderIdentity: '' });
  await until('no connection is left open', () => server.watches.length === 0);
});

test('the stop waits for running work before the lease is given back', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const work = Promise.withResolvers<void>();
  const { probe, reconciled, stop, ended } = await run(server, { work: () => work.promise });
  await until('it works', () => reconciled.length === 1);
  stop.abort();
  expect(await probe('/readyz')).toEqual({ status: 503, text: 'shutting down' });
  expect(server.find(leases, 'herdsman-system', 'herdsman')?.spec).toMatchObject({ holderIdentity: 'a' });
  work.resolve();
  expect(await ended).toBe('stopped');
  expect(server.find(leases, 'herdsman-system', 'herdsman')?.spec).toMatchObject({ holderIdentity: '' });
});

test('the lease is not given back while a reconcile does not heed its signal', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const { reconciled, stop, ended } = await run(server, { work: () => new Promise(() => {}), graceMs: 0 });
  await until('it works', () => reconciled.length === 1);
  stop.abort();
  expect(await ended).toBe('lost');
  expect(server.find(leases, 'herdsman-system', 'herdsman')?.spec).toMatchObject({ holderIdentity: 'a' });
});

/** Events that are recorded, and how often all of them were sent. */
function recorder() {
  const flushed: string[] = [];
  const events = {
    record() {},
    async flush() {
      flushed.push('all');
    },
  };
  return { events, flushed };
}

test('losing the lease ends the run as lost, and waits for no events', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const { events, flushed } = recorder();
  const { reconciled, ended } = await run(server, { events });
  await until('it reconciled', () => reconciled.length === 1);
  const lease = server.find(leases, 'herdsman-system', 'herdsman');
  if (lease === undefined) throw new Error('no lease');
  server.put(leases, { ...lease, spec: { ...(lease.spec as object), holderIdentity: 'thief' } });
  expect(await ended).toBe('lost');
  expect(flushed).toEqual([]);
});

test('the stop waits until events are sent', async () => {
  const server = await startServer();
  const { events, flushed } = recorder();
  const { stop, ended } = await run(server, { events });
  stop.abort();
  expect(await ended).toBe('stopped');
  expect(flushed).toEqual(['all']);
});

test('a standby fills its caches but works on nothing', async () => {
  const server = await startServer();
  server.put(configMaps, configMap('settings'));
  const leader = await run(server, { identity: 'a' });
  await until('it reconciled', () => leader.reconciled.length === 1);
  const standby = await run(server, { identity: 'b' });
  await until('the standby watches object and lease', () => server.watches.length === 3);
  expect(await standby.probe('/readyz')).toMatchObject({ status: 200 });
  expect((await standby.probe('/metrics')).text).toContain('herdsman_leader 0');
  expect(standby.reconciled).toEqual([]);
  leader.stop.abort();
  await until('the standby took over', () => standby.reconciled.length === 1);
});

test('SIGTERM stops a process, and a second one ends it at once', async () => {
  const script = `
    import { terminationSignal } from './src/runtime/shutdown.ts';
    const signal = terminationSignal();
    signal.addEventListener('abort', () => console.log(signal.reason.message));
    setInterval(() => {}, 1000);
    console.log('up');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  child.stdout.on('data', (chunk: Buffer) => lines.push(...chunk.toString().trim().split('\n')));
  const exited = once(child, 'exit');
  await until('it is up', () => lines.includes('up'));
  child.kill('SIGTERM');
  await until('it heard', () => lines.includes('received SIGTERM'));
  child.kill('SIGTERM');
  expect(await exited).toEqual([1, null]);
});
