import { ApiError } from './api-error.ts';
import { type Clock, jittered, systemClock } from './clock.ts';
import type { Informer } from './informer.ts';
import { type KubernetesObject, keyOf, keyString, type ObjectKey, parseKey } from './kubernetes-object.ts';
import { type Logger, silentLogger } from './logger.ts';
import type { WatchedNamespaces } from './namespaces.ts';
import { messageOf } from './transport.ts';
import { changed, mapped, type Predicate, type Watch } from './watches.ts';
import { createWorkQueue, type WorkQueue, type WorkQueueObserver } from './work-queue.ts';

/** What a reconcile is given. */
export interface ReconcileContext {
  /** Aborts at the timeout, when leadership is lost, and when shutdown has waited long enough. Pass it to every call. */
  readonly signal: AbortSignal;
  /** Aborts as `signal` does, but not at the timeout: for what may take long, and must not outlast leadership. */
  readonly leading: AbortSignal;
  /** Failures of this key in a row before this attempt. */
  readonly failures: number;
  readonly log: Logger;
}

/** What a reconcile answers. */
export interface ReconcileResult {
  /** Come again after so long, though nothing changes. */
  readonly requeueAfterMs?: number | undefined;
}

/**
 * When to try again after an error: `backoff` exponentially, from 200 ms; `after` a given time; `slowly`, every 5 minutes,
 * when only a change by somebody will help (the change itself wakes the key at once).
 */
export type Retry =
  | { readonly retry: 'backoff' }
  | { readonly retry: 'after'; readonly afterMs: number }
  | { readonly retry: 'slowly' };

/** A controller as data. */
export interface ControllerDefinition<T extends KubernetesObject> {
  readonly name: string;
  /** The objects whose keys are reconciled. */
  readonly source: Informer<T>;
  /** Which changes of them count; by default all but those of `status` alone. */
  readonly sourceWhen?: Predicate<T> | undefined;
  /** What else wakes a key. */
  readonly watches?: readonly Watch[] | undefined;
  /** Keys worked on at once; 4 by default. */
  readonly concurrency?: number | undefined;
  /** 2 minutes by default. */
  readonly reconcileTimeoutMs?: number | undefined;
  reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined>;
  /** `undefined` leaves it to the runtime. */
  classifyError?(error: unknown): Retry | undefined;
}

/** How a reconcile ended, as the metrics see it. */
export type Outcome = 'success' | 'requeue' | 'error' | 'timeout' | 'aborted';

/** What a controller runs with. */
export interface ControllerDependencies {
  /** Aborts all work at once, as when leadership is lost. */
  readonly signal: AbortSignal;
  /** Keys of a namespace wait until it is complete. Without it the informers must have synced. */
  readonly namespaces?: Pick<WatchedNamespaces, 'isComplete' | 'onChange'> | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: (() => number) | undefined;
  readonly log?: Logger | undefined;
  readonly queueObserver?: WorkQueueObserver | undefined;
  readonly onReconciled?: ((outcome: Outcome, ms: number) => void) | undefined;
}

/** A controller at work. */
export interface RunningController {
  readonly name: string;
  readonly queue: WorkQueue;
  /** Takes in nothing more, lets running reconciles finish for so long, then aborts them. Resolves when none runs. */
  stop(graceMs: number): Promise<void>;
}

/** A controller that can be started. */
export interface Controller {
  readonly name: string;
  /**
   * Starts working on keys. Throws unless the informers have synced, or namespaces are waited for one by one, since plans would
   * be made on half a world.
   */
  start(dependencies: ControllerDependencies): RunningController;
}

/** Makes a controller of its definition. */
export function defineController<T extends KubernetesObject>(
  definition: ControllerDefinition<T>,
): Controller {
  return { name: definition.name, start: (dependencies) => startController(definition, dependencies) };
}

const defaults = { concurrency: 4, timeoutMs: 120_000, slowlyMs: 300_000 };
const sourceChanges = ['generation', 'labels', 'annotations', 'finalizers', 'deletion'] as const;

function startController<T extends KubernetesObject>(
  definition: ControllerDefinition<T>,
  dependencies: ControllerDependencies,
): RunningController {
  const { name, source, watches = [] } = definition;
  const {
    clock = systemClock,
    random = Math.random,
    log = silentLogger,
    queueObserver: observer,
    namespaces,
  } = dependencies;
  if (namespaces === undefined && !(source.hasSynced() && watches.every((watch) => watch.hasSynced()))) {
    throw new Error(`controller ${name} was started before its informers had synced`);
  }
  const queue = createWorkQueue({ clock, random, observer });
  const abort = new AbortController();
  const stopNow = (): void => {
    queue.shutDown();
    abort.abort(dependencies.signal.reason);
  };
  if (dependencies.signal.aborted) stopNow();
  else dependencies.signal.addEventListener('abort', stopNow, { once: true });

  const own = mapped(source, (object) => [keyOf(object)], definition.sourceWhen ?? changed(...sourceChanges));
  function subscribe(): (() => void)[] {
    return [own, ...watches].map((watch) =>
      watch.subscribe((key, afterMs = 0) => {
        if (namespaces?.isComplete(key.namespace) !== false) queue.addAfter(keyString(key), afterMs);
      }),
    );
  }
  let unsubscribe = subscribe();
  // What was heard before a namespace was complete is heard again.
  const ignoreNamespaces = namespaces?.onChange(() => {
    const before = unsubscribe;
    unsubscribe = subscribe();
    for (const end of before) end();
  });

  function requeue(key: string, error: unknown): void {
    const decision = definition.classifyError?.(error) ?? defaultRetry(error);
    const failures = queue.failures(key) + 1;
    const fields = {
      controller: name,
      key,
      failures,
      retry: decision.retry,
      error: messageOf(error),
      err: error,
    };
    log.error(fields, 'reconcile failed');
    queue.addRateLimited(key, delayOf(decision, random));
  }

  async function work(key: string): Promise<void> {
    const startedMs = clock.monotonicMs();
    const attempt = startAttempt(
      abort.signal,
      clock,
      definition.reconcileTimeoutMs ?? defaults.timeoutMs,
      () => log.error({ controller: name, key }, 'reconcile is over its time limit, aborting it'),
    );
    let outcome: Outcome = 'success';
    try {
      const failures = queue.failures(key);
      const context = { signal: attempt.signal, leading: abort.signal, failures, log };
      const result = await definition.reconcile(parseKey(key), context);
      queue.forget(key);
      if (result?.requeueAfterMs !== undefined) {
        outcome = 'requeue';
        queue.addAfter(key, result.requeueAfterMs);
      }
    } catch (error) {
      outcome = abort.signal.aborted ? 'aborted' : attempt.timedOut() ? 'timeout' : 'error';
      if (outcome !== 'aborted') requeue(key, error);
    } finally {
      attempt.end();
      queue.done(key);
      dependencies.onReconciled?.(outcome, clock.monotonicMs() - startedMs);
    }
  }

  async function workUntilShutDown(): Promise<void> {
    for (let key = await queue.take(); key !== undefined; key = await queue.take()) await work(key);
  }

  const workers = Array.from({ length: definition.concurrency ?? defaults.concurrency }, workUntilShutDown);

  return {
    name,
    queue,
    async stop(graceMs) {
      queue.shutDown();
      ignoreNamespaces?.();
      for (const end of unsubscribe) end();
      const cancel = clock.after(graceMs, () => abort.abort(new Error('shutting down')));
      await Promise.all(workers);
      cancel();
      // What passes began and did not wait for must not outlast leadership either.
      abort.abort(new Error('shutting down'));
      dependencies.signal.removeEventListener('abort', stopNow);
    },
  };
}

interface Attempt {
  readonly signal: AbortSignal;
  timedOut(): boolean;
  end(): void;
}

function startAttempt(parent: AbortSignal, clock: Clock, timeoutMs: number, onTimeout: () => void): Attempt {
  const controller = new AbortController();
  let timedOut = false;
  const follow = (): void => controller.abort(parent.reason);
  if (parent.aborted) follow();
  else parent.addEventListener('abort', follow, { once: true });
  const cancel = clock.after(timeoutMs, () => {
    timedOut = true;
    onTimeout();
    controller.abort(new Error(`reconcile took longer than ${timeoutMs} ms`));
  });
  return {
    signal: controller.signal,
    timedOut: () => timedOut,
    end() {
      cancel();
      parent.removeEventListener('abort', follow);
    },
  };
}

function defaultRetry(error: unknown): Retry {
  if (!(error instanceof ApiError)) return { retry: 'backoff' };
  if (error.retryAfterMs !== undefined) return { retry: 'after', afterMs: error.retryAfterMs };
  if (error.status === 403 || error.status === 422) return { retry: 'slowly' };
  return { retry: 'backoff' };
}

function delayOf(decision: Retry, random: () => number): number | undefined {
  if (decision.retry === 'after') return decision.afterMs;
  if (decision.retry === 'slowly') return jittered(defaults.slowlyMs, 0.2, random);
  return undefined;
}
