import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';

/** A request as it arrived. */
export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  /** Which connection it came over: equal numbers are one socket. */
  readonly connection: number;
}

/** A watch that a client has open. */
export interface OpenWatch {
  readonly request: ReceivedRequest;
  /** Writes bytes as they are. */
  write(text: string): void;
  /** Ends the answer as a server does when `timeoutSeconds` are over. */
  end(): void;
  /** Resets the connection. */
  reset(): void;
  /** From now on nothing is sent, and no FIN either. */
  mute(): void;
}

/** Takes a request over when it answers true. */
export type Interceptor = (request: ReceivedRequest, response: ServerResponse) => boolean;

/** A small API server over real sockets that can be told to misbehave. */
export interface ScriptedApiServer {
  readonly url: string;
  readonly requests: readonly ReceivedRequest[];
  readonly watches: readonly OpenWatch[];
  /** The resourceVersion of the last change. */
  readonly resourceVersion: number;
  /** Stores an object at its REST path, and tells the watches. */
  put(collection: string, object: KubernetesObject): KubernetesObject;
  remove(collection: string, namespace: string, name: string): void;
  find(collection: string, namespace: string, name: string): KubernetesObject | undefined;
  /** Changes that no watch is told of: as if they were missed. */
  silently(change: () => void): void;
  /** Forgets the history: older resourceVersions and continue tokens are answered with 410 from now on. */
  compact(): void;
  /** Sends a bookmark of the current resourceVersion to every watch. */
  bookmark(): void;
  /** The last interceptor is asked first; returns how to take it away. */
  intercept(interceptor: Interceptor): () => void;
  /** A number of requests by method and path. */
  count(method: string, path: RegExp): number;
  close(): Promise<void>;
}

interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly collection: string;
  readonly object: KubernetesObject;
  readonly version: number;
}

interface Watcher extends OpenWatch {
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly matches: (object: KubernetesObject) => boolean;
  send(type: string, object: unknown): void;
}

/** Where in the API a path points: `/api/v1/namespaces/a/pods/b/status` is collection `/api/v1/pods`. */
interface Target {
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

/** What is sent back. */
interface Answer {
  readonly code: number;
  readonly body: unknown;
}

function ok(body: unknown, code = 200): Answer {
  return { code, body };
}

function refusal(code: number, reason: string, details: object = {}): Answer {
  const message = `scripted ${reason}`;
  return {
    code,
    body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message, details },
  };
}

/** Answers with a `Status`, as the API server refuses. */
export function refuse(
  response: ServerResponse,
  code: number,
  reason: string,
  headers: http.OutgoingHttpHeaders = {},
  details: object = {},
): void {
  send(response, refusal(code, reason, details), headers);
}

/** Answers with JSON. */
export function answer(response: ServerResponse, body: unknown, code = 200): void {
  send(response, ok(body, code));
}

function send(
  response: ServerResponse,
  { code, body }: Answer,
  headers: http.OutgoingHttpHeaders = {},
): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** Starts a server on a free port of the loopback address. */
export async function startScriptedApiServer(tls?: {
  readonly key: string;
  readonly cert: string;
}): Promise<ScriptedApiServer> {
  const requests: ReceivedRequest[] = [];
  const watchers = new Set<Watcher>();
  const interceptors: Interceptor[] = [];
  const objects = new Map<string, KubernetesObject>();
  const sockets = new Map<Socket, number>();
  /** Mistakes of a test's own script: they must not pass for a server's misbehaviour. */
  const scriptErrors: unknown[] = [];
  let history: Change[] = [];
  let version = 100;
  let compactedAt = 0;
  let silent = false;
  let connections = 0;

  const storeKey = (collection: string, namespace: string, name: string): string =>
    `${collection} ${namespace}/${name}`;

  function commit(type: Change['type'], collection: string, object: KubernetesObject): KubernetesObject {
    version += 1;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    const key = storeKey(collection, object.metadata.namespace ?? '', object.metadata.name);
    if (type === 'DELETED') objects.delete(key);
    else objects.set(key, stored);
    const change = { type, collection, object: stored, version };
    history.push(change);
    if (!silent) for (const watcher of watchers) tell(watcher, change);
    return stored;
  }

  function tell(watcher: Watcher, change: Change): void {
    if (watcher.collection !== change.collection || !watcher.matches(change.object)) return;
    if (watcher.namespace !== undefined && watcher.namespace !== change.object.metadata.namespace) return;
    watcher.send(change.type, change.object);
  }

  function put(collection: string, object: KubernetesObject): KubernetesObject {
    const old = objects.get(storeKey(collection, object.metadata.namespace ?? '', object.metadata.name));
    const uid = old?.metadata.uid ?? randomUUID();
    const metadata = { ...object.metadata, uid: object.metadata.uid ?? uid };
    return commit(old === undefined ? 'ADDED' : 'MODIFIED', collection, { ...object, metadata });
  }

  function remove(collection: string, namespace: string, name: string): void {
    const old = objects.get(storeKey(collection, namespace, name));
    if (old !== undefined) commit('DELETED', collection, old);
  }

  function list(target: Target, request: ReceivedRequest): Answer {
    const token = request.query.get('continue');
    const [at, offsetText] = token === null ? [String(version), '0'] : token.split(':');
    if (Number(at) < compactedAt) return refusal(410, 'Expired');
    const matches = matcherOf(request.query);
    const all = [...objects.entries()]
      .filter(([key]) => key.startsWith(`${target.collection} `))
      .map(([, object]) => object)
      .filter((object) => target.namespace === undefined || object.metadata.namespace === target.namespace)
      .filter(matches)
      .toSorted((a, b) => a.metadata.name.localeCompare(b.metadata.name));
    const offset = Number(offsetText);
    const limit = Number(request.query.get('limit') ?? Number.POSITIVE_INFINITY);
    const items = all.slice(offset, offset + limit).map(({ apiVersion: _, kind: __, ...item }) => item);
    const rest = offset + limit < all.length ? `${at}:${offset + limit}` : undefined;
    return ok({ kind: 'List', metadata: { resourceVersion: at, continue: rest }, items });
  }

  function watch(target: Target, request: ReceivedRequest, response: ServerResponse): Answer | undefined {
    const from = Number(request.query.get('resourceVersion') ?? '0');
    if (from < compactedAt) return refusal(410, 'Expired');
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    let muted = false;
    const write = (text: string): void => {
      if (!muted) response.write(text);
    };
    const watcher: Watcher = {
      request,
      collection: target.collection,
      namespace: target.namespace,
      matches: matcherOf(request.query),
      write,
      send: (type, object) => write(`${JSON.stringify({ type, object })}\n`),
      end: () => {
        response.end();
      },
      reset: () => {
        response.socket?.resetAndDestroy();
      },
      mute: () => {
        muted = true;
      },
    };
    watchers.add(watcher);
    response.on('close', () => watchers.delete(watcher));
    for (const change of history) if (change.version > from) tell(watcher, change);
    return undefined;
  }

  function write(target: Target, request: ReceivedRequest): Answer {
    const sent = JSON.parse(request.body) as KubernetesObject;
    const namespace = target.namespace ?? '';
    const name = target.name ?? sent.metadata.name;
    const old = objects.get(storeKey(target.collection, namespace, name));
    if (request.method === 'POST' && old !== undefined) return refusal(409, 'AlreadyExists', { name });
    if (request.method === 'PUT') {
      if (old === undefined) return refusal(404, 'NotFound', { name });
      const expected = sent.metadata.resourceVersion;
      if (expected !== undefined && expected !== old.metadata.resourceVersion)
        return refusal(409, 'Conflict');
    }
    if (
      request.method === 'PATCH' &&
      sent.metadata?.uid !== undefined &&
      sent.metadata.uid !== old?.metadata.uid
    ) {
      return refusal(409, 'Conflict');
    }
    const metadata = { ...old?.metadata, ...sent.metadata, namespace, name };
    const base = request.method === 'PATCH' ? { ...old, ...sent } : sent;
    const merged =
      target.subresource === 'status' && old !== undefined ? { ...old, status: sent.status } : base;
    return ok(put(target.collection, { ...merged, metadata }), old === undefined ? 201 : 200);
  }

  function destroy(target: Target, request: ReceivedRequest): Answer {
    const name = target.name ?? '';
    const old = objects.get(storeKey(target.collection, target.namespace ?? '', name));
    if (old === undefined) return refusal(404, 'NotFound', { name });
    const { preconditions } = JSON.parse(request.body) as {
      preconditions?: { uid?: string; resourceVersion?: string };
    };
    const wrongUid = preconditions?.uid !== undefined && preconditions.uid !== old.metadata.uid;
    const { resourceVersion } = preconditions ?? {};
    if (wrongUid || (resourceVersion !== undefined && resourceVersion !== old.metadata.resourceVersion)) {
      return refusal(409, 'Conflict');
    }
    if ((old.metadata.finalizers ?? []).length > 0) {
      const metadata = { ...old.metadata, deletionTimestamp: new Date().toISOString() };
      return ok(put(target.collection, { ...old, metadata }));
    }
    remove(target.collection, target.namespace ?? '', name);
    return ok({ kind: 'Status', status: 'Success', details: { name, uid: old.metadata.uid } });
  }

  /** `undefined` when the answer goes on being written. */
  function route(request: ReceivedRequest, response: ServerResponse): Answer | undefined {
    const target = targetOf(request.path);
    if (target === undefined) return ok('404 page not found', 404);
    if (request.method === 'DELETE') return destroy(target, request);
    if (request.method !== 'GET') return write(target, request);
    if (request.query.get('watch') === 'true') return watch(target, request, response);
    if (target.name === undefined) return list(target, request);
    const { collection, namespace = '', name } = target;
    const found = objects.get(storeKey(collection, namespace, name));
    return found === undefined ? refusal(404, 'NotFound', { name }) : ok(found);
  }

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const url = new URL(incoming.url ?? '/', 'http://scripted');
    const request: ReceivedRequest = {
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: Buffer.concat(chunks).toString('utf8'),
      connection: sockets.get(incoming.socket) ?? -1,
    };
    requests.push(request);
    if (interceptors.toReversed().some((interceptor) => interceptor(request, response))) return;
    const reply = route(request, response);
    if (reply !== undefined) send(response, reply);
  }

  const listener = (incoming: IncomingMessage, response: ServerResponse): void => {
    serve(incoming, response).catch((error: unknown) => {
      if (!incoming.readableAborted) scriptErrors.push(error);
      response.destroy();
    });
  };
  const server = tls === undefined ? http.createServer(listener) : https.createServer(tls, listener);
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    connections += 1;
    sockets.set(socket, connections);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    // By name over TLS, since that is what certificates are for.
    url: tls === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`,
    requests,
    get watches() {
      return [...watchers];
    },
    get resourceVersion() {
      return version;
    },
    put,
    remove,
    find: (collection, namespace, name) => objects.get(storeKey(collection, namespace, name)),
    silently(change) {
      silent = true;
      change();
      silent = false;
    },
    compact() {
      version += 1;
      compactedAt = version;
      history = [];
    },
    bookmark() {
      for (const watcher of watchers) {
        watcher.send('BOOKMARK', { kind: 'Bookmark', metadata: { resourceVersion: String(version) } });
      }
    },
    intercept(interceptor) {
      interceptors.push(interceptor);
      return () => void interceptors.splice(interceptors.indexOf(interceptor), 1);
    },
    count: (method, path) => requests.filter((r) => r.method === method && path.test(r.path)).length,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
      if (scriptErrors.length > 0)
        throw new AggregateError(scriptErrors, 'the script of the API server failed');
    },
  };
}

function targetOf(path: string): Target | undefined {
  const segments = path.split('/').filter((segment) => segment !== '');
  const rootLength = segments[0] === 'api' ? 2 : segments[0] === 'apis' ? 3 : 0;
  if (rootLength === 0 || segments.length <= rootLength) return undefined;
  const root = segments.slice(0, rootLength);
  const rest = segments.slice(rootLength).map(decodeURIComponent);
  const namespaced = rest[0] === 'namespaces' && rest.length > 2;
  const [plural, name, subresource] = namespaced ? rest.slice(2) : rest;
  return {
    collection: `/${root.join('/')}/${plural}`,
    namespace: namespaced ? rest[1] : undefined,
    name,
    subresource,
  };
}

function matcherOf(query: URLSearchParams): (object: KubernetesObject) => boolean {
  const labels = (query.get('labelSelector') ?? '').split(',').filter((term) => term !== '');
  const named = /^metadata\.name=(.+)$/.exec(query.get('fieldSelector') ?? '')?.[1];
  return ({ metadata }) => {
    if (named !== undefined && named !== metadata.name) return false;
    return labels.every((term) => {
      const [label = '', value] = term.split('=');
      return metadata.labels?.[label] === value;
    });
  };
}
