import { ApiError, isExpired, isForbidden, TransportError } from './api-error.ts';
import { type Clock, jittered, pause } from './clock.ts';
import type { KubeClient, Selection, WatchEvent } from './kube-client.ts';
import { type KubernetesObject, type ResourceType, typeName } from './kubernetes-object.ts';
import type { Logger } from './logger.ts';
import { messageOf } from './transport.ts';

/** Where the objects of a list-watch go. */
export interface ListWatchSink<T> {
  /** These are all the objects, as of this resourceVersion. */
  replace(objects: readonly T[], resourceVersion: string): void;
  change(event: WatchEvent<T>): void;
  /** The server has just proved that it is there. */
  alive(): void;
  /** The server forbids to list or watch these objects. */
  refused?(): void;
}

/** What a list-watch follows, and with what. */
export interface ListWatchOptions extends Selection {
  readonly client: Pick<KubeClient, 'listAll' | 'watch'>;
  readonly type: ResourceType;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Told of each time that a watch must be opened again for another reason than its planned end. */
  readonly onRestart?: ((reason: 'expired' | 'error') => void) | undefined;
  /** The longest that a watch stays open, in seconds; each ends at a random time from half of it on. 600 by default. */
  readonly watchSeconds?: number | undefined;
}

const backoff = { firstMs: 500, longestMs: 30_000 };
/** A bookmark comes about once a minute: where they come, three missing in a row mean a dead connection. */
const bookmarkSilenceMs = 200_000;
/** How much later than `timeoutSeconds` a server may end a watch before it is taken for dead. */
const graceMs = 15_000;
const leastWatchMs = 1_000;
const fruitlessBeforeList = 3;

/**
 * Lists once and watches from there until the signal aborts. Nothing else ends it: an expired resourceVersion leads to a new
 * list, any error to another try after a jittered backoff.
 */
export async function runListWatch<T extends KubernetesObject>(
  options: ListWatchOptions,
  sink: ListWatchSink<T>,
  signal: AbortSignal,
): Promise<void> {
  const { client, type, clock, random, log } = options;
  const { namespace, labelSelector, fieldSelector } = options;
  const selection = { namespace, labelSelector, fieldSelector };
  let resourceVersion: string | undefined;
  let failures = 0;
  /** Watches in a row that the server answered, yet from which nothing usable came: its state may be beyond going on from. */
  let fruitless = 0;
  let sendsBookmarks = false;
  let startedMs = clock.monotonicMs();

  async function list(): Promise<string> {
    const page = await client.listAll<T>(type, { ...selection, signal });
    sink.alive();
    sink.replace(page.items, page.resourceVersion);
    fruitless = 0;
    return page.resourceVersion;
  }

  async function watch(from: string): Promise<void> {
    const timeoutSeconds = Math.round((options.watchSeconds ?? 600) * (0.5 + 0.5 * random()));
    startedMs = clock.monotonicMs();
    const longestSilenceMs = timeoutSeconds * 1_000 + graceMs;
    const silenceMsAfterBookmark = Math.min(longestSilenceMs, bookmarkSilenceMs);
    const silenceMs = sendsBookmarks ? silenceMsAfterBookmark : longestSilenceMs;
    const watched = {
      ...selection,
      resourceVersion: from,
      timeoutSeconds,
      silenceMs,
      silenceMsAfterBookmark,
      signal,
    };
    let events = 0;
    for await (const event of client.watch<T>(type, watched)) {
      if (signal.aborted) return;
      events += 1;
      failures = 0;
      fruitless = 0;
      resourceVersion =
        event.type === 'bookmark' ? event.resourceVersion : event.object.metadata.resourceVersion;
      sendsBookmarks ||= event.type === 'bookmark';
      sink.alive();
      sink.change(event);
    }
    sink.alive();
    // A server that ends each watch at once must not be asked in a tight loop.
    if (events === 0 && clock.monotonicMs() - startedMs < leastWatchMs) await wait();
  }

  async function wait(): Promise<void> {
    failures += 1;
    const ms = Math.min(backoff.firstMs * 2 ** (failures - 1), backoff.longestMs);
    await pause(clock, jittered(ms, 0.5, random), signal);
  }

  async function recover(error: unknown): Promise<void> {
    if (clock.monotonicMs() - startedMs > backoff.longestMs) {
      failures = 0;
      fruitless = 0;
    }
    const what = { type: typeName(type), namespace, error: messageOf(error), failures };
    if (isExpired(error)) {
      log.info(what, 'resource version expired, listing again');
      options.onRestart?.('expired');
      resourceVersion = undefined;
      if (failures > 0) return await wait();
      failures = 1;
      return;
    }
    log.warn(what, 'list-watch interrupted, trying again');
    options.onRestart?.('error');
    if (isForbidden(error)) sink.refused?.();
    if (error instanceof ApiError || (error instanceof TransportError && !error.unsent)) fruitless += 1;
    if (fruitless >= fruitlessBeforeList) resourceVersion = undefined;
    await wait();
  }

  while (!signal.aborted) {
    startedMs = clock.monotonicMs();
    try {
      resourceVersion ??= await list();
      await watch(resourceVersion);
    } catch (error) {
      if (!signal.aborted) await recover(error);
    }
  }
}
