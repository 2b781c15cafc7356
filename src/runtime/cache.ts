import {
  compareResourceVersions,
  type KubernetesObject,
  keyOf,
  keyString,
  type ObjectKey,
} from './kubernetes-object.ts';

/** Maps an object to the values under which an index finds it. */
export type IndexFunction<T> = (object: T) => readonly string[];

/** What readers see of the objects that a list-watch keeps up to date. Objects are frozen: copy before changing. */
export interface Cache<T extends KubernetesObject> {
  readonly size: number;
  get(key: ObjectKey): T | undefined;
  /** All objects, or those of one namespace. */
  list(namespace?: string): readonly T[];
  /** The objects for which the named index gave this value. */
  byIndex(index: string, value: string): readonly T[];
  /** Whether the list-watch has seen everything up to this resourceVersion in the namespace. */
  hasSeen(resourceVersion: string, namespace: string): boolean;
}

/** The side of a cache that the list-watch writes to. */
export interface CacheWriter<T extends KubernetesObject> extends Cache<T> {
  /** Keeps the object; returns the one that it replaces. */
  set(object: T): T | undefined;
  remove(key: ObjectKey): T | undefined;
  /** Notes how far the list-watch of this scope has come: a namespace, or `''` for all. */
  advance(scope: string, resourceVersion: string): void;
}

const namespaceIndex = '\0namespace';

/** An empty cache. */
export function createCache<T extends KubernetesObject>(
  indexFunctions: Readonly<Record<string, IndexFunction<T>>> = {},
): CacheWriter<T> {
  const objects = new Map<string, T>();
  const progress = new Map<string, string>();
  const functions: Record<string, IndexFunction<T>> = {
    ...indexFunctions,
    [namespaceIndex]: (object) => [object.metadata.namespace ?? ''],
  };
  /** By index name, then value: the keys. */
  const indexes = new Map<string, Map<string, Set<string>>>();
  for (const name of Object.keys(functions)) indexes.set(name, new Map());

  function enter(key: string, object: T): void {
    for (const [name, valuesOf] of Object.entries(functions)) {
      const index = indexes.get(name);
      for (const value of valuesOf(object)) {
        const keys = index?.get(value);
        if (keys === undefined) index?.set(value, new Set([key]));
        else keys.add(key);
      }
    }
  }

  function leave(key: string, object: T): void {
    for (const [name, valuesOf] of Object.entries(functions)) {
      const index = indexes.get(name);
      for (const value of valuesOf(object)) {
        const keys = index?.get(value);
        keys?.delete(key);
        if (keys?.size === 0) index?.delete(value);
      }
    }
  }

  function byIndex(name: string, value: string): readonly T[] {
    const index = indexes.get(name);
    if (index === undefined) throw new TypeError(`the cache has no index "${name}"`);
    const found: T[] = [];
    for (const key of index.get(value) ?? []) {
      const object = objects.get(key);
      if (object !== undefined) found.push(object);
    }
    return found;
  }

  return {
    get size() {
      return objects.size;
    },
    get: (key) => objects.get(keyString(key)),
    list: (namespace) =>
      namespace === undefined ? [...objects.values()] : byIndex(namespaceIndex, namespace),
    byIndex,
    hasSeen(resourceVersion, namespace) {
      const seen = progress.get('') ?? progress.get(namespace);
      if (seen === undefined) return false;
      const order = compareResourceVersions(seen, resourceVersion);
      return order !== undefined && order >= 0;
    },
    set(object) {
      const key = keyString(keyOf(object));
      const old = objects.get(key);
      if (old !== undefined) leave(key, old);
      const frozen = deepFreeze(object);
      objects.set(key, frozen);
      enter(key, frozen);
      return old;
    },
    remove(objectKey) {
      const key = keyString(objectKey);
      const old = objects.get(key);
      if (old === undefined) return undefined;
      leave(key, old);
      objects.delete(key);
      return old;
    },
    advance: (scope, resourceVersion) => void progress.set(scope, resourceVersion),
  };
}

/** Finds objects by `namespace/value` of a label. */
export function labelIndex(label: string): IndexFunction<KubernetesObject> {
  return ({ metadata }) => {
    const value = metadata.labels?.[label];
    return value === undefined ? [] : [keyString({ namespace: metadata.namespace ?? '', name: value })];
  };
}

/** Finds objects by the uid of each of their owners. */
export function ownerIndex(): IndexFunction<KubernetesObject> {
  return ({ metadata }) => metadata.ownerReferences?.map((reference) => reference.uid) ?? [];
}

/** Readers share the cached objects: whoever changed one would change everybody's world unseen. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const child of Object.values(value)) deepFreeze(child);
  return Object.freeze(value);
}
