import type { Cache, IndexFunction } from './cache.ts';
import type { KubernetesObject, ResourceType } from './kubernetes-object.ts';

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
  /** Makes the object smaller before it is kept; `metadata.managedFields` is always dropped. */
  readonly transform?: ((object: T) => T) | undefined;
}

/** A cache that follows the API server, and tells of each change. */
export interface Informer<T extends KubernetesObject> {
  readonly type: ResourceType;
  readonly cache: Cache<T>;
  /** Starts following, once; further calls do nothing. It ends with the signal, and with nothing else. */
  start(signal: AbortSignal): void;
  /** Whether the first list is complete in every namespace. */
  hasSynced(): boolean;
  /** Resolves when synced; rejects with the signal's reason. */
  waitForSync(signal: AbortSignal): Promise<void>;
  /** Milliseconds since the server last proved (list, event, bookmark) that the cache follows it; the oldest namespace counts. */
  lastSyncAgeMs(): number;
  /** Calls the handler for each change, and at once with `added` for what is already there; returns how to stop that. */
  onChange(handler: (change: Change<T>) => void): () => void;
}
