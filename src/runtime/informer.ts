import { isDeepStrictEqual } from 'node:util';
import { type Cache, createCache, type IndexFunction } from './cache.ts';
import { type Clock, systemClock } from './clock.ts';
import type { KubeClient, WatchEvent } from './kube-client.ts';
import { type KubernetesObject, keyOf, keyString, type ResourceType, typeName } from './kubernetes-object.ts';
import { type ListWatchOptions, runListWatch } from './list-watch.ts';
import { type Logger, silentLogger } from './logger.ts';
import { messageOf } from './transport.ts';
import { until } from './until.ts';

/** One change of a cached object: `old` is absent when it was added, `current` when it was deleted. */
export type Change<T> =
  | { readonly kind: 'added'; readonly old: undefined; readonly current: T }
  | { readonly kind: 'updated'; readonly old: T; readonly current: T }
  | { readonly kind: 'deleted'; readonly old: T; readonly current: undefined };

/** What an informer follows. */
export interface InformerOptions<T extends KubernetesObject> {
  readonly type: ResourceType;
  /** Each with a list-watch of its own; default: the whole cluster. */
  readonly namespaces?: readonly string[] | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>> | undefined;
  /**
   * Makes the object smaller before it is kept; `metadata.managedFields` is always dropped. No handler is told of a change that
   * leaves the smaller object the same.
   */
  readonly transform?: ((object: T) => T) | undefined;
}

/** A cache that follows the API server, and tells of each change. */
export interface Informer<T extends KubernetesObject> {
  readonly type: ResourceType;
  readonly cache: Cache<T>;
  /** Starts following, once; further calls do nothing. It ends with the signal, and with nothing else. */
  start(signal: AbortSignal): void;
  /** Those it follows; `''`: the whole cluster. */
  readonly namespaces: readonly string[];
  /** Whether the first list is complete in every namespace, or in the one that is named. */
  hasSynced(namespace?: string): boolean;
  /** Milliseconds from the first to the last time that the server refused a namespace (403) since it last answered. */
  refusedForMs(namespace: string): number | undefined;
  /** Calls the handler when a namespace has synced, and each time that one is refused; returns how to stop that. */
  onProgress(handler: () => void): () => void;
  /** Resolves when synced; rejects with the signal's reason. */
  waitForSync(signal: AbortSignal): Promise<void>;
  /** Milliseconds since the server last proved (list, event, bookmark) that the cache follows it; the oldest namespace counts. */
  lastSyncAgeMs(): number;
  /** Calls the handler for each change, and at once with `added` for what is already there; returns how to stop that. */
  onChange(handler: (change: Change<T>) => void): () => void;
}

/** What an informer works with. */
export interface InformerDependencies {
  readonly client: Pick<KubeClient, 'listAll' | 'watch'>;
  readonly clock?: Clock | undefined;
  readonly random?: (() => number) | undefined;
  readonly log?: Logger | undefined;
  readonly onRestart?: ((type: string, reason: 'expired' | 'error') => void) | undefined;
  readonly watchSeconds?: number | undefined;
}

interface Scope {
  /** `''`: the whole cluster. */
  readonly namespace: string;
  synced: boolean;
  aliveMs: number;
  refused: { readonly sinceMs: number; readonly lastMs: number } | undefined;
}

/** Makes an informer; it does nothing before `start`. */
export function createInformer<T extends KubernetesObject>(
  options: InformerOptions<T>,
  dependencies: InformerDependencies,
): Informer<T> {
  const { type } = options;
  const { client, clock = systemClock, random = Math.random, log = silentLogger } = dependencies;
  const cache = createCache<T>(options.indexes);
  const handlers = new Set<(change: Change<T>) => void>();
  const progressing = new Set<() => void>();
  const scopes: Scope[] = (options.namespaces ?? ['']).map((namespace) => ({
    namespace,
    synced: false,
    aliveMs: Number.NEGATIVE_INFINITY,
    refused: undefined,
  }));
  let started = false;

  const hasSynced = (namespace = ''): boolean =>
    scopes.every((scope) => scope.synced || !isWithin(namespace, scope.namespace));

  function progress(): void {
    for (const handler of progressing) handler();
  }

  function onProgress(handler: () => void): () => void {
    progressing.add(handler);
    return () => void progressing.delete(handler);
  }

  function notify(handler: (change: Change<T>) => void, change: Change<T>): void {
    try {
      handler(change);
    } catch (error) {
      // The cache must go on following the server, whatever one reader does.
      log.error({ type: typeName(type), error: messageOf(error) }, 'a handler of changes failed');
    }
  }

  function tell(change: Change<T>): void {
    for (const handler of handlers) notify(handler, change);
  }

  function keep(raw: T): void {
    const { managedFields: _, ...metadata } = raw.metadata;
    const slim = { ...raw, metadata };
    const current = options.transform?.(slim) ?? slim;
    const known = cache.get(keyOf(current));
    if (known !== undefined && known.metadata.resourceVersion === current.metadata.resourceVersion) return;
    cache.set(current);
    if (known !== undefined && options.transform !== undefined && sameButForVersion(known, current)) return;
    if (known !== undefined && known.metadata.uid === current.metadata.uid) {
      tell({ kind: 'updated', old: known, current });
      return;
    }
    // Deleted and made anew while we did not look: two objects, not one that changed.
    if (known !== undefined) tell({ kind: 'deleted', old: known, current: undefined });
    tell({ kind: 'added', old: undefined, current });
  }

  function drop(object: KubernetesObject): void {
    const old = cache.remove(keyOf(object));
    if (old !== undefined) tell({ kind: 'deleted', old, current: undefined });
  }

  function replace(scope: Scope, objects: readonly T[], resourceVersion: string): void {
    const listed = new Set(objects.map((object) => keyString(keyOf(object))));
    const known = scope.namespace === '' ? cache.list() : cache.list(scope.namespace);
    cache.advance(scope.namespace, resourceVersion);
    for (const object of known) if (!listed.has(keyString(keyOf(object)))) drop(object);
    for (const object of objects) keep(object);
    if (scope.synced) return;
    scope.synced = true;
    progress();
  }

  function change(scope: Scope, event: WatchEvent<T>): void {
    const resourceVersion =
      event.type === 'bookmark' ? event.resourceVersion : event.object.metadata.resourceVersion;
    if (resourceVersion !== undefined) cache.advance(scope.namespace, resourceVersion);
    if (event.type === 'bookmark') return;
    if (event.type === 'deleted') drop(event.object);
    else keep(event.object);
  }

  function follow(scope: Scope, signal: AbortSignal): void {
    const listWatch: ListWatchOptions = {
      client,
      type,
      clock,
      random,
      log,
      namespace: scope.namespace === '' ? undefined : scope.namespace,
      labelSelector: options.labelSelector,
      fieldSelector: options.fieldSelector,
      watchSeconds: dependencies.watchSeconds,
      onRestart: (reason) => dependencies.onRestart?.(typeName(type), reason),
    };
    void runListWatch<T>(
      listWatch,
      {
        replace: (objects, resourceVersion) => replace(scope, objects, resourceVersion),
        change: (event) => change(scope, event),
        alive: () => {
          scope.aliveMs = clock.monotonicMs();
          scope.refused = undefined;
        },
        refused: () => {
          const lastMs = clock.monotonicMs();
          scope.refused = { sinceMs: scope.refused?.sinceMs ?? lastMs, lastMs };
          progress();
        },
      },
      signal,
    );
  }

  return {
    type,
    cache,
    namespaces: scopes.map(({ namespace }) => namespace),
    hasSynced,
    refusedForMs(namespace) {
      const refused = scopes.find((scope) => scope.namespace === namespace)?.refused;
      return refused === undefined ? undefined : refused.lastMs - refused.sinceMs;
    },
    onProgress,
    start(signal) {
      if (started) return;
      started = true;
      for (const scope of scopes) follow(scope, signal);
    },
    waitForSync: (signal) => until(hasSynced, onProgress, signal),
    lastSyncAgeMs: () => clock.monotonicMs() - Math.min(...scopes.map((scope) => scope.aliveMs)),
    onChange(handler) {
      handlers.add(handler);
      for (const current of cache.list()) notify(handler, { kind: 'added', old: undefined, current });
      return () => void handlers.delete(handler);
    },
  };
}

/** Whether a scope has something of a namespace; `''` is all of them. */
function isWithin(namespace: string, scope: string): boolean {
  return namespace === '' || scope === '' || namespace === scope;
}

function sameButForVersion(a: KubernetesObject, b: KubernetesObject): boolean {
  const metadata = { ...a.metadata, resourceVersion: b.metadata.resourceVersion };
  return isDeepStrictEqual({ ...a, metadata }, b);
}
