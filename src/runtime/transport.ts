import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { type RequestName, TransportError } from './api-error.ts';
import type { Credentials } from './credentials.ts';

/** A request on the wire. */
interface WireRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
}

/** Sends requests over connections that are kept alive. */
export interface Transport {
  /** Resolves with the head of the answer; the body is a stream that ends in an error when it was cut off. */
  send(request: WireRequest): Promise<IncomingMessage>;
  /** Closes the idle connections: after one went silent, none of its kind is to be trusted. */
  dropIdle(): void;
  close(): void;
}

/** Below the API server's own 90 s, so that we, not it, close an idle connection: else a request may race with its FIN. */
const idleMs = 45_000;
/** With the kernel's ten probes a second apart a dead peer is noticed in 25 s. */
const keepAliveDelayMs = 15_000;

/** A transport to one server. */
export function createTransport(credentials: Credentials): Transport {
  const secure = credentials.server.protocol === 'https:';
  const options = { keepAlive: true, maxFreeSockets: 8, timeout: idleMs, scheduling: 'lifo' as const };
  const agent = secure ? new https.Agent(options) : new http.Agent(options);
  const basePath = credentials.server.pathname.replace(/\/$/, '');

  return {
    async send(request) {
      const name = { method: request.method, path: request.path };
      if (request.signal.aborted) throw aborted(name, request.signal, true);
      const { headers, tls, agent: proxyAgent } = await credentialsFor(name, credentials);
      const requestOptions: https.RequestOptions = {
        ...tls,
        agent: proxyAgent ?? agent,
        host: credentials.server.hostname.replace(/^\[|\]$/g, ''),
        port: credentials.server.port === '' ? (secure ? 443 : 80) : credentials.server.port,
        method: request.method,
        path: basePath + request.path,
        headers: { ...headers, ...request.headers },
        signal: request.signal,
      };
      return await exchange(
        name,
        secure ? https.request(requestOptions) : http.request(requestOptions),
        request,
        secure ? 'secureConnect' : 'connect',
      );
    },
    dropIdle() {
      for (const sockets of Object.values(agent.freeSockets))
        for (const socket of sockets ?? []) socket.destroy();
    },
    close() {
      agent.destroy();
    },
  };
}

async function credentialsFor(
  name: RequestName,
  credentials: Credentials,
): ReturnType<Credentials['forRequest']> {
  try {
    return await credentials.forRequest();
  } catch (cause) {
    throw new TransportError(name, `no credentials: ${messageOf(cause)}`, { cause, unsent: true });
  }
}

function exchange(
  name: RequestName,
  outgoing: ClientRequest,
  request: WireRequest,
  connectEvent: string,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let connected = false;
    outgoing.on('socket', (socket) => {
      socket.setKeepAlive(true, keepAliveDelayMs);
      if (outgoing.reusedSocket) connected = true;
      else socket.once(connectEvent, () => (connected = true));
    });
    outgoing.on('response', resolve);
    outgoing.on('error', (cause) => {
      if (request.signal.aborted) return reject(aborted(name, request.signal, !connected));
      reject(new TransportError(name, messageOf(cause), { cause, unsent: !connected }));
    });
    outgoing.end(request.body);
  });
}

function aborted(name: RequestName, signal: AbortSignal, unsent: boolean): TransportError {
  return new TransportError(name, `aborted: ${messageOf(signal.reason)}`, { cause: signal.reason, unsent });
}

/** What an error says, for errors of every make (Node's AggregateError for several addresses has no message). */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join(', ');
  return error instanceof Error ? error.message : String(error);
}
