import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Outcome } from './controller.ts';
import type { RequestRecord } from './kube-client.ts';
import type { WorkQueueObserver } from './work-queue.ts';

/** The runtime's own metrics, each fed by a hook of the part that it measures. */
export interface RuntimeMetrics {
  readonly registry: Registry;
  request(record: RequestRecord): void;
  watchRestarted(type: string, reason: string): void;
  reconciled(controller: string, outcome: Outcome, ms: number): void;
  queue(controller: string): WorkQueueObserver;
  leading(isLeader: boolean): void;
  /** Whether a namespace that is to be watched is left out. */
  leftOut(namespace: string, isLeftOut: boolean): void;
}

const second = 1_000;
const requestBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const workBuckets = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120];

/** Registers the runtime's metrics. */
export function createRuntimeMetrics(
  registry: Registry = new Registry(),
  prefix = 'herdsman',
): RuntimeMetrics {
  const registers = [registry];
  const requests = new Counter({
    name: `${prefix}_api_requests_total`,
    help: 'Requests to the Kubernetes API',
    labelNames: ['verb', 'resource', 'code'],
    registers,
  });
  const requestSeconds = new Histogram({
    name: `${prefix}_api_request_duration_seconds`,
    help: 'Time from a request to the head of its answer',
    labelNames: ['verb'],
    buckets: requestBuckets,
    registers,
  });
  const restarts = new Counter({
    name: `${prefix}_watch_restarts_total`,
    help: 'Watches that ended before their time',
    labelNames: ['resource', 'reason'],
    registers,
  });
  const reconciles = new Counter({
    name: `${prefix}_reconciles_total`,
    help: 'Reconciles by outcome',
    labelNames: ['controller', 'outcome'],
    registers,
  });
  const reconcileSeconds = new Histogram({
    name: `${prefix}_reconcile_duration_seconds`,
    help: 'Time that a reconcile took',
    labelNames: ['controller'],
    buckets: workBuckets,
    registers,
  });
  const depth = new Gauge({
    name: `${prefix}_queue_depth`,
    help: 'Keys that wait for a worker',
    labelNames: ['controller'],
    registers,
  });
  const waitSeconds = new Histogram({
    name: `${prefix}_queue_wait_seconds`,
    help: 'Time that a key waited for a worker',
    labelNames: ['controller'],
    buckets: workBuckets,
    registers,
  });
  const retries = new Counter({
    name: `${prefix}_queue_retries_total`,
    help: 'Keys queued again after a failure',
    labelNames: ['controller'],
    registers,
  });
  const leader = new Gauge({ name: `${prefix}_leader`, help: '1 while this process leads', registers });
  const leftOut = new Gauge({
    name: `${prefix}_namespace_left_out`,
    help: '1 for a namespace that is to be watched, but where every list is refused',
    labelNames: ['namespace'],
    registers,
  });

  return {
    registry,
    request({ verb, resource, code, durationMs }) {
      requests.inc({ verb, resource, code });
      requestSeconds.observe({ verb }, durationMs / second);
    },
    watchRestarted: (resource, reason) => restarts.inc({ resource, reason }),
    reconciled(controller, outcome, ms) {
      reconciles.inc({ controller, outcome });
      reconcileSeconds.observe({ controller }, ms / second);
    },
    queue: (controller) => ({
      depth: (keys) => depth.set({ controller }, keys),
      waited: (ms) => waitSeconds.observe({ controller }, ms / second),
      retried: () => retries.inc({ controller }),
    }),
    leading: (isLeader) => leader.set(isLeader ? 1 : 0),
    leftOut(namespace, isLeftOut) {
      if (isLeftOut) leftOut.set({ namespace }, 1);
      else leftOut.remove({ namespace });
    },
  };
}
