import { isDeepStrictEqual } from 'node:util';
import type { Change, Informer } from './informer.ts';
import {
  controllerOf,
  type KubernetesObject,
  keyString,
  type ObjectKey,
  type ResourceType,
} from './kubernetes-object.ts';

/** A source of keys to reconcile; made by `ownedBy`, `labelled` or `mapped`. */
export interface Watch {
  /** `afterMs`: how long the reconcile may wait; at once by default. */
  subscribe(enqueue: (key: ObjectKey, afterMs?: number) => void): () => void;
  hasSynced(): boolean;
}

/** Whether a change is worth a reconcile. */
export type Predicate<T> = (change: Change<T>) => boolean;

/** A part of an object that a predicate can look at. `deletion` and `generation` are in `metadata`. */
export type Part =
  | 'generation'
  | 'labels'
  | 'annotations'
  | 'finalizers'
  | 'ownerReferences'
  | 'deletion'
  | 'spec'
  | 'status';

const parts: Readonly<Record<Part, (object: KubernetesObject) => unknown>> = {
  generation: ({ metadata }) => metadata.generation,
  labels: ({ metadata }) => metadata.labels,
  annotations: ({ metadata }) => metadata.annotations,
  finalizers: ({ metadata }) => metadata.finalizers,
  ownerReferences: ({ metadata }) => metadata.ownerReferences,
  deletion: ({ metadata }) => metadata.deletionTimestamp,
  spec: ({ spec }) => spec,
  status: ({ status }) => status,
};

/** True for each addition and deletion, and for updates in which one of the parts differs. */
export function changed<T extends KubernetesObject>(...watched: readonly Part[]): Predicate<T> {
  return ({ old, current }) => {
    if (old === undefined || current === undefined) return true;
    return watched.some((part) => !isDeepStrictEqual(parts[part](old), parts[part](current)));
  };
}

/** Keys by a function of the object. For an update both the old and the new object count, so a former owner hears of it too. */
export function mapped<T extends KubernetesObject>(
  informer: Informer<T>,
  keysOf: (object: T) => readonly ObjectKey[],
  when: Predicate<T> = () => true,
): Watch {
  return {
    hasSynced: informer.hasSynced,
    subscribe(enqueue) {
      return informer.onChange((change) => {
        if (!when(change)) return;
        const keys = [change.old, change.current].flatMap((object) =>
          object === undefined ? [] : keysOf(object),
        );
        const unique = new Map(keys.map((key) => [keyString(key), key]));
        for (const key of unique.values()) enqueue(key);
      });
    },
  };
}

/** The same, but that the reconcile waits so long: for what others, who are in a hurry, have begun. */
export function delayed(watch: Watch, afterMs: number): Watch {
  return { ...watch, subscribe: (enqueue) => watch.subscribe((key) => enqueue(key, afterMs)) };
}

/** Keys of the controlling owner of a type, found by ownerReference. */
export function ownedBy<T extends KubernetesObject>(
  informer: Informer<T>,
  owner: ResourceType,
  when?: Predicate<T>,
): Watch {
  const keysOf = (object: T): ObjectKey[] => {
    const reference = controllerOf(object);
    if (reference === undefined || reference.kind !== owner.kind) return [];
    if (groupOf(reference.apiVersion) !== owner.group) return [];
    return [{ namespace: owner.namespaced ? (object.metadata.namespace ?? '') : '', name: reference.name }];
  };
  return mapped(informer, keysOf, when);
}

/** Keys in the object's own namespace, named by the value of a label. */
export function labelled<T extends KubernetesObject>(
  informer: Informer<T>,
  label: string,
  when?: Predicate<T>,
): Watch {
  const keysOf = ({ metadata }: T): ObjectKey[] => {
    const name = metadata.labels?.[label];
    return name === undefined || name === '' ? [] : [{ namespace: metadata.namespace ?? '', name }];
  };
  return mapped(informer, keysOf, when);
}

function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? '' : apiVersion.slice(0, slash);
}
