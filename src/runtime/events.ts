import { randomBytes } from 'node:crypto';
import { isNotFound } from './api-error.ts';
import { type Clock, microTime, systemClock } from './clock.ts';
import type { KubeClient } from './kube-client.ts';
import type { KubernetesObject, ObjectKey } from './kubernetes-object.ts';
import { eventType } from './kubernetes-types.ts';
import { type Logger, silentLogger } from './logger.ts';
import { messageOf } from './transport.ts';

/** Something worth telling the user about an object. */
export interface EventInput {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase: why (`SwitchoverDone`). */
  readonly reason: string;
  /** CamelCase: what was being done (`Switchover`). */
  readonly action: string;
  /** One sentence; cut at 1,024 bytes. No secrets. */
  readonly note: string;
}

/** Writes Kubernetes Events. It never throws and never makes the caller wait. */
export interface EventRecorder {
  record(regarding: KubernetesObject, event: EventInput): void;
  /** Waits until all that was recorded is sent or given up. */
  flush(): Promise<void>;
}

/** How to record. */
export interface EventRecorderOptions {
  readonly client: Pick<KubeClient, 'create' | 'patch'>;
  /** `herdsman.dev/operator`: who reports. */
  readonly component: string;
  /** Which of them: the pod's name. */
  readonly instance: string;
  readonly clock?: Clock | undefined;
  readonly log?: Logger | undefined;
}

/** Repeats within this time are counted on the first event instead of making new ones. */
const seriesMs = 600_000;
/** The count of a series is written at most so often. */
const leastPatchMs = 30_000;
/** Per object: so many at once, and one more in each period. */
const burst = { tokens: 25, refillMs: 60_000 };
/** The API server refuses an event whose note has more, and counts bytes. */
const longestNoteBytes = 1_024;
const mostSeries = 4_096;
const mostQueued = 1_000;

interface Series {
  readonly key: ObjectKey;
  readonly startedMs: number;
  count: number;
  lastMs: number;
  writtenMs: number;
  /** Undefined while the first write has not succeeded. */
  exists: boolean;
  queued: boolean;
  cancel: () => void;
}

interface Budget {
  tokens: number;
  sinceMs: number;
}

/** Makes a recorder. Events are sent one after another in the background. */
export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  const { client, component, instance, clock = systemClock, log = silentLogger } = options;
  /** In order of use, the oldest first. */
  const seriesByText = new Map<string, Series>();
  const budgets = new Map<string, Budget>();
  let sending: Promise<void> = Promise.resolve();
  let queued = 0;

  function spend(uid: string): boolean {
    const nowMs = clock.monotonicMs();
    const budget = budgets.get(uid) ?? { tokens: burst.tokens, sinceMs: nowMs };
    const refill = Math.floor((nowMs - budget.sinceMs) / burst.refillMs);
    budget.tokens = Math.min(burst.tokens, budget.tokens + refill);
    budget.sinceMs += refill * burst.refillMs;
    budgets.delete(uid);
    budgets.set(uid, budget);
    dropOldest(budgets, mostSeries);
    if (budget.tokens === 0) return false;
    budget.tokens -= 1;
    return true;
  }

  function send(what: string, write: () => Promise<unknown>): void {
    if (queued >= mostQueued) {
      log.warn({ event: what }, 'event dropped: too many wait');
      return;
    }
    queued += 1;
    sending = sending.then(async () => {
      try {
        await write();
      } catch (error) {
        // An event that cannot be written (a namespace that ends, a right that is missing) must not harm the work.
        log.warn({ event: what, error: messageOf(error) }, 'event not written');
      } finally {
        queued -= 1;
      }
    });
  }

  function start(regarding: KubernetesObject, event: EventInput, text: string): void {
    const namespace = regarding.metadata.namespace ?? 'default';
    const suffix = randomBytes(8).toString('hex');
    const key = { namespace, name: `${regarding.metadata.name.slice(0, 230)}.${suffix}` };
    const nowMs = clock.monotonicMs();
    const started = { startedMs: nowMs, lastMs: nowMs, writtenMs: nowMs };
    const series: Series = { key, ...started, count: 1, exists: false, queued: false, cancel: () => {} };
    seriesByText.set(text, series);
    dropOldest(seriesByText, mostSeries);
    const body = eventObject(key, regarding, event, { component, instance, now: clock.now() });
    send(event.reason, async () => {
      try {
        await client.create(eventType, body, { timeoutMs: 10_000 });
        series.exists = true;
      } catch (error) {
        forget(text, series);
        throw error;
      }
    });
  }

  function forget(text: string, series: Series): void {
    if (seriesByText.get(text) === series) seriesByText.delete(text);
  }

  function repeat(series: Series, reason: string, text: string): void {
    series.count += 1;
    series.lastMs = clock.monotonicMs();
    if (series.queued) return;
    series.queued = true;
    series.cancel = clock.after(series.writtenMs + leastPatchMs - series.lastMs, () =>
      writeCount(series, reason, text),
    );
  }

  function writeCount(series: Series, reason: string, text: string): void {
    series.cancel();
    series.queued = false;
    series.writtenMs = clock.monotonicMs();
    send(reason, async () => {
      if (!series.exists) return;
      const now = clock.now();
      const patch = {
        count: series.count,
        lastTimestamp: seconds(now),
        series: { count: series.count, lastObservedTime: microTime(now) },
      };
      try {
        await client.patch(eventType, series.key, patch, { type: 'merge', timeoutMs: 10_000 });
      } catch (error) {
        if (!isNotFound(error)) throw error;
        // The API server removes events after an hour: the next one starts anew.
        forget(text, series);
      }
    });
  }

  return {
    record(regarding, event) {
      const { uid, namespace, name } = regarding.metadata;
      const identity = uid ?? `${regarding.kind}/${namespace ?? ''}/${name}`;
      const text = JSON.stringify([identity, event.type, event.reason, event.action, event.note]);
      const series = seriesByText.get(text);
      if (series !== undefined && clock.monotonicMs() - series.lastMs < seriesMs) {
        seriesByText.delete(text);
        seriesByText.set(text, series);
        repeat(series, event.reason, text);
      } else if (spend(identity)) start(regarding, event, text);
      else log.debug({ event: event.reason, object: name }, 'event dropped: too many for one object');
    },
    async flush() {
      for (const [text, series] of seriesByText) if (series.queued) writeCount(series, 'flush', text);
      await sending;
    },
  };
}

function eventObject(
  key: ObjectKey,
  regarding: KubernetesObject,
  event: EventInput,
  reporter: { readonly component: string; readonly instance: string; readonly now: Date },
): KubernetesObject {
  const { name, namespace, uid, resourceVersion } = regarding.metadata;
  const now = seconds(reporter.now);
  const body = {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: key.name, namespace: key.namespace },
    involvedObject: {
      apiVersion: regarding.apiVersion,
      kind: regarding.kind,
      name,
      namespace,
      uid,
      resourceVersion,
    },
    type: event.type,
    reason: event.reason,
    action: event.action,
    message: cut(event.note),
    eventTime: microTime(reporter.now),
    firstTimestamp: now,
    lastTimestamp: now,
    count: 1,
    source: { component: reporter.component },
    reportingComponent: reporter.component,
    reportingInstance: reporter.instance,
  };
  return body;
}

function cut(note: string): string {
  if (Buffer.byteLength(note) <= longestNoteBytes) return note;
  const end = '…';
  // Encodes whole characters only.
  const { read } = new TextEncoder().encodeInto(
    note,
    new Uint8Array(longestNoteBytes - Buffer.byteLength(end)),
  );
  return note.slice(0, read) + end;
}

function dropOldest<V>(map: Map<string, V>, most: number): void {
  for (const key of map.keys()) {
    if (map.size <= most) return;
    map.delete(key);
  }
}

function seconds(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
