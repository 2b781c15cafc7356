import type { Informer } from './informer.ts';
import type { KubernetesObject } from './kubernetes-object.ts';
import { type Logger, silentLogger } from './logger.ts';
import { until } from './until.ts';

/** An informer as far as starting and probing it goes. */
export type Followed = Pick<
  Informer<KubernetesObject>,
  'type' | 'namespaces' | 'start' | 'hasSynced' | 'refusedForMs' | 'onProgress'
>;

/** Which of the watched namespaces are in the caches, and which cannot be. */
export interface WatchedNamespaces {
  /** Whether every cache has all of a namespace: until then nothing in it may be planned, since nothing is known to be absent. */
  isComplete(namespace: string): boolean;
  /** Calls the handler when a further namespace is complete or left out; returns how to stop that. */
  onChange(handler: () => void): () => void;
  /** Resolves when each namespace is complete or left out, and one is complete; rejects with the signal's reason. */
  settled(signal: AbortSignal): Promise<void>;
  /** What is still missing, for the probe. */
  problem(): string | undefined;
}

/** How to watch. */
export interface WatchedNamespacesOptions {
  readonly log?: Logger | undefined;
  readonly onLeftOut?: ((namespace: string, isLeftOut: boolean) => void) | undefined;
}

/** An API server that starts refuses for seconds what it will allow. */
const refusedAtLeastMs = 60_000;

/**
 * Follows how far the informers are. A namespace in which every one is refused for long (it was deleted, and the rights in it
 * with it) is left out, so that it does not hold up the others, until all of it can be listed.
 */
export function watchNamespaces(
  informers: readonly Followed[],
  { log = silentLogger, onLeftOut }: WatchedNamespacesOptions = {},
): WatchedNamespaces {
  const names = new Set(informers.flatMap(({ namespaces }) => namespaces));
  const complete = new Set<string>();
  const leftOut = new Set<string>();
  const handlers = new Set<() => void>();

  const isComplete = (name: string): boolean => informers.every((informer) => informer.hasSynced(name));

  const isRefused = (name: string): boolean =>
    informers.every((informer) => (informer.refusedForMs(name) ?? 0) >= refusedAtLeastMs);

  const awaited = (): string[] => [...names].filter((name) => !complete.has(name) && !leftOut.has(name));

  const isSettled = (): boolean => awaited().length === 0 && (complete.size > 0 || names.size === 0);

  function look(name: string): boolean {
    if (complete.has(name)) return false;
    if (isComplete(name)) {
      complete.add(name);
      if (!leftOut.delete(name)) return true;
      log.info({ namespace: name }, 'namespace can be listed again and is no longer left out');
      onLeftOut?.(name, false);
      return true;
    }
    if (leftOut.has(name) || !isRefused(name)) return false;
    leftOut.add(name);
    log.warn(
      { namespace: name },
      'namespace is left out until it can be listed: every list of it is refused. ' +
        'Give the operator its rights there, or take the namespace out of watch.namespaces',
    );
    onLeftOut?.(name, true);
    return true;
  }

  function progress(): void {
    const news = [...names].filter(look);
    if (news.length > 0) for (const handler of handlers) handler();
  }

  function onChange(handler: () => void): () => void {
    handlers.add(handler);
    return () => void handlers.delete(handler);
  }

  for (const informer of informers) informer.onProgress(progress);
  progress();

  return {
    isComplete,
    onChange,
    settled: (signal) => until(isSettled, onChange, signal),
    problem() {
      if (isSettled()) return undefined;
      const unsynced = informers.filter((informer) => awaited().some((name) => !informer.hasSynced(name)));
      if (unsynced.length === 0) return 'not synced: every list is refused';
      return `not synced yet: ${unsynced.map(({ type }) => type.plural).join(', ')}`;
    },
  };
}
