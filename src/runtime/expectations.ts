import type { Cache } from './cache.ts';
import type { KubernetesObject } from './kubernetes-object.ts';

/** One write of ours that the cache has not shown yet. */
export interface Expectation {
  readonly description: string;
}

/**
 * Holds a plan until the cache has seen our own writes, so that no plan is made on a world from before them. Each expectation
 * ends when the cache has caught up, or after its expiry.
 */
export interface Expectations {
  /** After a create, update or apply: the cache must reach the object's resourceVersion. */
  expectWritten<T extends KubernetesObject>(owner: string, cache: Cache<T>, written: KubernetesObject): void;
  /** After a delete: the cache must no longer hold this uid, or show it as being deleted. */
  expectDeleted<T extends KubernetesObject>(owner: string, cache: Cache<T>, deleted: KubernetesObject): void;
  /** After a write whose answer was lost: the cache must hold objects of these names. */
  expectNames<T extends KubernetesObject>(
    owner: string,
    cache: Cache<T>,
    namespace: string,
    names: readonly string[],
  ): void;
  /** What is still outstanding for this owner; go on when it is empty. */
  pending(owner: string): readonly Expectation[];
  /** When the owner is gone. */
  forget(owner: string): void;
}
