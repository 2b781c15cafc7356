import type { Informer } from './informer.ts';
import type { KubernetesObject, ObjectKey } from './kubernetes-object.ts';
import type { Logger } from './logger.ts';

/** What a reconcile is given. */
export interface ReconcileContext {
  /** Aborts at the timeout, when leadership is lost, and when shutdown has waited long enough. Pass it to every call. */
  readonly signal: AbortSignal;
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
 * When to try again after an error: `soon` after a lost race; `backoff` exponentially; `after` a given time; `slowly` when
 * only a change by somebody will help (the change itself wakes the key at once).
 */
export type Retry =
  | { readonly retry: 'soon' }
  | { readonly retry: 'backoff' }
  | { readonly retry: 'after'; readonly afterMs: number }
  | { readonly retry: 'slowly' };

/** A source of keys to reconcile; made by `ownedBy`, `labelled` or `mapped`. */
export interface Watch {
  subscribe(enqueue: (key: ObjectKey) => void): () => void;
  hasSynced(): boolean;
}

/** A controller as data. */
export interface ControllerDefinition<T extends KubernetesObject> {
  readonly name: string;
  readonly source: Informer<T>;
  readonly watches: readonly Watch[];
  /** Keys worked on at once; 4 by default. */
  readonly concurrency?: number;
  /** 2 minutes by default. */
  readonly reconcileTimeoutMs?: number;
  reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined>;
  classifyError?(error: unknown): Retry | undefined;
}
