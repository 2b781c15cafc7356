import { createApiCalls } from './api-calls.ts';
import {
  type Credentials,
  inClusterServer,
  kubeconfigCredentials,
  serviceAccountCredentials,
} from './credentials.ts';
import type { KubernetesObject, ObjectKey, ResourceType } from './kubernetes-object.ts';
import { readCalls } from './read-calls.ts';
import type { Reading } from './reading.ts';
import { createTransport } from './transport.ts';
import { writeCalls } from './write-calls.ts';

/** What every call takes: when to give up. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** For the whole call with its retries; 30 s by default. */
  readonly timeoutMs?: number | undefined;
}

/** Which objects a list or watch covers. */
export interface Selection {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

/** One page of a list. */
export interface ListPage<T> {
  readonly items: T[];
  readonly resourceVersion: string;
  /** Present when there are more pages. */
  readonly continueToken: string | undefined;
}

/** How to list. */
export interface ListOptions extends Selection, CallOptions {
  /** Objects per page; 500 by default. */
  readonly limit?: number | undefined;
  readonly continueToken?: string | undefined;
}

/** How to watch. */
export interface WatchOptions extends Selection {
  readonly resourceVersion: string;
  /** When the server shall end the watch, in seconds. */
  readonly timeoutSeconds: number;
  /** Ends the watch with a TransportError when nothing at all came for so long; the connection is then taken for dead. */
  readonly silenceMs?: number | undefined;
  /** The same once a bookmark has shown that this server sends them. */
  readonly silenceMsAfterBookmark?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One line of a watch. `bookmark` carries only a resourceVersion. */
export type WatchEvent<T> =
  | { readonly type: 'added' | 'modified' | 'deleted'; readonly object: T }
  | { readonly type: 'bookmark'; readonly resourceVersion: string };

/** How to write. */
export interface WriteOptions extends CallOptions {
  readonly fieldManager?: string | undefined;
  readonly dryRun?: boolean | undefined;
}

/** How to apply on the server's side; `fieldManager` defaults to the client's. */
export interface ApplyOptions extends WriteOptions {
  /** Take over fields that another manager owns; without it that is a Conflict. */
  readonly force?: boolean | undefined;
  readonly subresource?: string | undefined;
}

/** How to patch. */
export interface PatchOptions extends WriteOptions {
  readonly type: 'merge' | 'json' | 'strategic';
  readonly subresource?: string | undefined;
}

/** How to delete: with `uid` only the very object that was judged, and never a namesake made since. */
export interface DeleteOptions extends CallOptions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan' | undefined;
  readonly gracePeriodSeconds?: number | undefined;
  readonly dryRun?: boolean | undefined;
}

/** A request that has no method of its own (`/version`, `pods/eviction`, `pods/log`). */
export interface RawRequest extends CallOptions {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Begins with `/`; may carry a query. */
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string | undefined;
  /** Tries after the first, where the server asks to come back later (429); 10 by default. 0 for evictions. */
  readonly retries?: number | undefined;
}

/** A finished request, as the metrics see it. */
export interface RequestRecord {
  readonly verb: string;
  /** `pods`, `statefulsets.apps`, `leases.coordination.k8s.io/status`; or `raw`. */
  readonly resource: string;
  /** The HTTP status, or `'<error>'` when no answer came. */
  readonly code: string;
  readonly durationMs: number;
}

/**
 * A client of the Kubernetes API on raw JSON: unknown fields survive. Each call throws `ApiError` when the server refused, and
 * `TransportError` when the outcome is unknown. `undefined` from `get` and `delete` means a true NotFound, never a failure.
 */
export interface KubeClient {
  readonly fieldManager: string;
  /** The namespace of the service account or of the kubeconfig's context. */
  readonly defaultNamespace: string;
  /** Milliseconds since the server last answered anything at all; `Infinity` before the first answer. */
  sinceLastAnswerMs(): number;
  /** What the server's clock shows by its last answer, within a second or so; `undefined` if it has not said. */
  serverTime(): Date | undefined;
  get<T extends KubernetesObject = KubernetesObject>(
    type: ResourceType,
    key: ObjectKey,
    options?: CallOptions,
  ): Promise<T | undefined>;
  /** `get` as a value: present, absent or unknown. */
  read<T extends KubernetesObject = KubernetesObject>(
    type: ResourceType,
    key: ObjectKey,
    options?: CallOptions,
  ): Promise<Reading<T>>;
  list<T extends KubernetesObject = KubernetesObject>(
    type: ResourceType,
    options?: ListOptions,
  ): Promise<ListPage<T>>;
  /** All pages as of one resourceVersion; starts over once when the continue token expires on the way. */
  listAll<T extends KubernetesObject = KubernetesObject>(
    type: ResourceType,
    options?: ListOptions,
  ): Promise<ListPage<T>>;
  watch<T extends KubernetesObject = KubernetesObject>(
    type: ResourceType,
    options: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>, void, undefined>;
  create<T extends KubernetesObject>(type: ResourceType, object: T, options?: WriteOptions): Promise<T>;
  /** Replaces the object; with `metadata.resourceVersion` it is a compare-and-swap. */
  update<T extends KubernetesObject>(type: ResourceType, object: T, options?: WriteOptions): Promise<T>;
  updateStatus<T extends KubernetesObject>(type: ResourceType, object: T, options?: WriteOptions): Promise<T>;
  /** Server-side apply. */
  apply<T extends KubernetesObject>(type: ResourceType, object: T, options?: ApplyOptions): Promise<T>;
  /** Server-side apply of `/status`. */
  applyStatus<T extends KubernetesObject>(type: ResourceType, object: T, options?: ApplyOptions): Promise<T>;
  patch<T extends KubernetesObject = KubernetesObject>(
    type: ResourceType,
    key: ObjectKey,
    patch: unknown,
    options: PatchOptions,
  ): Promise<T>;
  /** `gone`: it was removed; `deleting`: finalizers or a grace period still hold it; `absent`: it was not there. */
  delete(
    type: ResourceType,
    key: ObjectKey,
    options?: DeleteOptions,
  ): Promise<'gone' | 'deleting' | 'absent'>;
  request(request: RawRequest): Promise<unknown>;
  /** Closes all connections. */
  close(): void;
}

/** How to make a client. */
export interface KubeClientOptions {
  /** Default: `$KUBECONFIG`, else the pod's service account, else `~/.kube/config`. */
  readonly kubeconfigPath?: string | undefined;
  readonly context?: string | undefined;
  /** A service account's token, CA and namespace in files, and the server that takes them. */
  readonly serviceAccount?: { readonly server: string; readonly directory: string } | undefined;
  /** `herdsman/<version>`. */
  readonly userAgent: string;
  readonly fieldManager: string;
  readonly onRequest?: ((record: RequestRecord) => void) | undefined;
}

/** Makes a client; it connects with the first call. */
export async function createKubeClient(options: KubeClientOptions): Promise<KubeClient> {
  const credentials = await credentialsOf(options);
  const transport = createTransport(credentials);
  const { userAgent, onRequest, fieldManager } = options;
  const calls = createApiCalls({ transport, credentials, userAgent, onRequest });
  return {
    fieldManager,
    defaultNamespace: credentials.defaultNamespace,
    sinceLastAnswerMs: calls.sinceLastAnswerMs,
    serverTime: calls.serverTime,
    close: transport.close,
    ...readCalls(calls),
    ...writeCalls(calls, fieldManager),
    request({ method, path, ...rest }) {
      return calls.call({ verb: method.toLowerCase(), resource: 'raw', method, path, ...rest });
    },
  };
}

async function credentialsOf(options: KubeClientOptions): Promise<Credentials> {
  const { serviceAccount, kubeconfigPath, context } = options;
  if (serviceAccount !== undefined)
    return serviceAccountCredentials(serviceAccount.server, serviceAccount.directory);
  const inCluster = inClusterServer(process.env);
  const named = kubeconfigPath ?? process.env.KUBECONFIG;
  if (inCluster !== undefined && named === undefined) {
    return serviceAccountCredentials(inCluster.server, inCluster.directory);
  }
  return await kubeconfigCredentials(kubeconfigPath, context);
}
