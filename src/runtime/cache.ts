import type { KubernetesObject, ObjectKey } from './kubernetes-object.ts';

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
