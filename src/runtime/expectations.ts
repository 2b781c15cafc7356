import type { Cache } from './cache.ts';
import { type Clock, systemClock } from './clock.ts';
import { type KubernetesObject, keyOf, keyString } from './kubernetes-object.ts';

/** One write of ours that the cache has not shown yet. */
export interface Expectation {
  readonly description: string;
}

/**
 * Holds a plan until the cache has seen our own writes, so that no plan is made on a world from before them. Each expectation
 * ends when the cache has caught up, or after its expiry: a lost watch must not stop the work for ever.
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

/** How expectations behave. */
export interface ExpectationsOptions {
  readonly clock?: Clock | undefined;
  /** 30 s by default. */
  readonly expiryMs?: number | undefined;
  readonly onExpired?: ((owner: string, expectation: Expectation) => void) | undefined;
}

interface Held extends Expectation {
  readonly untilMs: number;
  isMet(): boolean;
}

/** No expectations yet. */
export function createExpectations(options: ExpectationsOptions = {}): Expectations {
  const { clock = systemClock, expiryMs = 30_000, onExpired } = options;
  const byOwner = new Map<string, Held[]>();

  function hold(owner: string, description: string, isMet: () => boolean): void {
    if (isMet()) return;
    const held = byOwner.get(owner) ?? [];
    held.push({ description, isMet, untilMs: clock.monotonicMs() + expiryMs });
    byOwner.set(owner, held);
  }

  return {
    expectWritten(owner, cache, written) {
      const { resourceVersion } = written.metadata;
      if (resourceVersion === undefined)
        throw new TypeError(`${written.kind} ${written.metadata.name} was not written`);
      const { namespace, name } = keyOf(written);
      hold(owner, `${written.kind} ${name} at ${resourceVersion}`, () =>
        cache.hasSeen(resourceVersion, namespace),
      );
    },
    expectDeleted(owner, cache, deleted) {
      const key = keyOf(deleted);
      hold(owner, `${deleted.kind} ${key.name} deleted`, () => {
        const cached = cache.get(key);
        if (cached === undefined || cached.metadata.uid !== deleted.metadata.uid) return true;
        return cached.metadata.deletionTimestamp !== undefined;
      });
    },
    expectNames(owner, cache, namespace, names) {
      for (const name of names) {
        const key = { namespace, name };
        hold(owner, `${keyString(key)} to appear`, () => cache.get(key) !== undefined);
      }
    },
    pending(owner) {
      const open = (byOwner.get(owner) ?? []).filter((held) => {
        if (held.isMet()) return false;
        if (clock.monotonicMs() < held.untilMs) return true;
        onExpired?.(owner, held);
        return false;
      });
      if (open.length === 0) byOwner.delete(owner);
      else byOwner.set(owner, open);
      return open;
    },
    forget: (owner) => void byOwner.delete(owner),
  };
}
