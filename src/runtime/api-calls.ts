import type { IncomingMessage } from 'node:http';
import { ApiError, type RequestName, type StatusBody, TransportError } from './api-error.ts';
import { jittered, pause, systemClock } from './clock.ts';
import type { Credentials } from './credentials.ts';
import { splitLines } from './json-lines.ts';
import type { RequestRecord } from './kube-client.ts';
import { messageOf, type Transport } from './transport.ts';

/** One call of the API: a request with its retries. */
interface ApiCall {
  /** For metrics: `get`, `list`, `apply`, … */
  readonly verb: string;
  readonly resource: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  readonly retries?: number | undefined;
}

/** Sends calls, and understands the answers. */
export interface ApiCalls {
  /** The parsed body of a 2xx answer. */
  call(call: ApiCall): Promise<unknown>;
  /** The lines of a 2xx answer, parsed, as they come. */
  stream(call: ApiCall, silence: Silence): AsyncGenerator<unknown, void, undefined>;
  sinceLastAnswerMs(): number;
  serverTime(): Date | undefined;
}

/** How long a stream may be silent; its reader may change it between lines. */
interface Silence {
  limitMs: number;
}

const defaultTimeoutMs = 30_000;
const defaultRetries = 10;

/** Calls over a transport. */
export function createApiCalls(options: {
  readonly transport: Transport;
  readonly credentials: Credentials;
  readonly userAgent: string;
  readonly onRequest: ((record: RequestRecord) => void) | undefined;
}): ApiCalls {
  const { transport, credentials } = options;
  let lastAnswerMs = Number.NEGATIVE_INFINITY;
  /** By the server's clock, at a time of the one that only ever grows. */
  let server: { readonly dateMs: number; readonly atMs: number } | undefined;

  async function open(call: ApiCall, signal: AbortSignal): Promise<IncomingMessage> {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const headers: Record<string, string | number> = {
      accept: 'application/json',
      'user-agent': options.userAgent,
    };
    if (body !== undefined) {
      headers['content-type'] = call.contentType ?? 'application/json';
      headers['content-length'] = Buffer.byteLength(body);
    }
    const startedMs = performance.now();
    let code = '<error>';
    try {
      const response = await transport.send({ method: call.method, path: call.path, headers, body, signal });
      code = String(response.statusCode);
      lastAnswerMs = performance.now();
      const dateMs = Date.parse(response.headers.date ?? '');
      if (!Number.isNaN(dateMs)) server = { dateMs, atMs: lastAnswerMs };
      return response;
    } finally {
      const durationMs = performance.now() - startedMs;
      options.onRequest?.({ verb: call.verb, resource: call.resource, code, durationMs });
    }
  }

  /** Opens until the answer is not one that asks for another try, and throws what is not 2xx. */
  async function openWithRetries(
    call: ApiCall,
    signal: AbortSignal,
    untilMs: number,
  ): Promise<IncomingMessage> {
    let renewed = false;
    let resent = false;
    for (let retriesLeft = call.retries ?? defaultRetries; ; ) {
      let response: IncomingMessage;
      try {
        response = await open(call, signal);
      } catch (error) {
        // A kept connection may have been closed by the server just now; then nothing is wrong with a second try.
        if (signal.aborted || resent || !mayRepeat(call, error)) throw error;
        resent = true;
        continue;
      }
      if (isSuccess(response)) return response;
      const error = await refusal(call, response);
      if (error.status === 401 && !renewed) {
        renewed = true;
        credentials.invalidate();
        continue;
      }
      const delayMs = retryDelayMs(call, error);
      if (delayMs === undefined || retriesLeft === 0 || performance.now() + delayMs >= untilMs) throw error;
      retriesLeft -= 1;
      await pause(systemClock, delayMs, signal);
    }
  }

  return {
    async call(call) {
      const timeoutMs = call.timeoutMs ?? defaultTimeoutMs;
      const deadline = startDeadline(call, timeoutMs);
      try {
        const response = await openWithRetries(call, deadline.signal, performance.now() + timeoutMs);
        return parse(call, await readText(call, response));
      } catch (error) {
        if (deadline.expired()) transport.dropIdle();
        throw error;
      } finally {
        deadline.end();
      }
    },

    async *stream(call, silence) {
      const deadline = startDeadline(call, call.timeoutMs ?? defaultTimeoutMs);
      let ended = false;
      try {
        const response = await openWithRetries(call, deadline.signal, performance.now());
        deadline.extend(silence.limitMs);
        const chunks = mapChunks(response, () => {
          lastAnswerMs = performance.now();
          deadline.extend(silence.limitMs);
        });
        for await (const line of namedErrors(call, splitLines(chunks))) {
          yield parse(call, line);
          deadline.extend(silence.limitMs);
        }
        ended = true;
      } catch (error) {
        if (deadline.expired()) transport.dropIdle();
        throw error;
      } finally {
        // Also reached when the reader stops early: this is what closes the connection then.
        if (!ended) deadline.abort();
        deadline.end();
      }
    },

    sinceLastAnswerMs: () => performance.now() - lastAnswerMs,
    serverTime() {
      return server === undefined ? undefined : new Date(server.dateMs + performance.now() - server.atMs);
    },
  };
}

interface Deadline {
  readonly signal: AbortSignal;
  expired(): boolean;
  extend(ms: number): void;
  abort(): void;
  end(): void;
}

/** A signal that follows the caller's and a timer. Listeners are removed at the end, since the caller's may live for ever. */
function startDeadline(call: ApiCall, timeoutMs: number): Deadline {
  const controller = new AbortController();
  let expired = false;
  const follow = (): void => controller.abort(call.signal?.reason);
  const expire = (ms: number): NodeJS.Timeout =>
    setTimeout(() => {
      expired = true;
      controller.abort(new Error(`nothing came for ${ms} ms`));
    }, ms);
  let timer = expire(timeoutMs);
  let timerMs = timeoutMs;
  if (call.signal?.aborted === true) follow();
  else call.signal?.addEventListener('abort', follow, { once: true });
  return {
    signal: controller.signal,
    expired: () => expired,
    extend(ms) {
      if (ms === timerMs) {
        timer.refresh();
        return;
      }
      clearTimeout(timer);
      timer = expire(ms);
      timerMs = ms;
    },
    abort: () => controller.abort(new Error('ended by its reader')),
    end() {
      clearTimeout(timer);
      call.signal?.removeEventListener('abort', follow);
    },
  };
}

function mayRepeat(call: ApiCall, error: unknown): boolean {
  if (!(error instanceof TransportError)) return false;
  const { cause } = error;
  if (!(cause instanceof Error && 'code' in cause)) return false;
  return call.method === 'GET' && (cause.code === 'ECONNRESET' || cause.code === 'EPIPE');
}

/** 429: never handled, so any call may come again. 5xx: only reads, and only where the server names a time. */
function retryDelayMs(call: ApiCall, error: ApiError): number | undefined {
  if (error.status === 429) return jittered(error.retryAfterMs ?? 1_000, 0.1, Math.random);
  if (error.status >= 500 && call.method === 'GET') return error.retryAfterMs;
  return undefined;
}

function isSuccess(response: IncomingMessage): boolean {
  return response.statusCode !== undefined && response.statusCode >= 200 && response.statusCode < 300;
}

async function refusal(request: RequestName, response: IncomingMessage): Promise<ApiError> {
  const text = await readText(request, response);
  const seconds = Number(response.headers['retry-after']);
  const retryAfterMs = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : undefined;
  return new ApiError(nameOf(request), response.statusCode ?? 0, statusBody(text), retryAfterMs);
}

/** A `Status`, or what a proxy or the bare multiplexer wrote in its place. */
function statusBody(text: string): StatusBody {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null && 'kind' in body && body.kind === 'Status')
      return body as StatusBody;
  } catch {
    // Not JSON: the text itself is the message.
  }
  return { message: text.slice(0, 300) };
}

async function readText(request: RequestName, response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
  } catch (cause) {
    throw new TransportError(nameOf(request), `the answer was cut off: ${messageOf(cause)}`, { cause });
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(request: RequestName, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    // Without the parser's own message, which quotes the text, and that may be a Secret.
    throw new TransportError(nameOf(request), `the answer is not JSON (${text.length} characters)`, {
      cause: cause instanceof SyntaxError ? undefined : cause,
    });
  }
}

async function* mapChunks(
  response: IncomingMessage,
  onChunk: () => void,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of response) {
    onChunk();
    yield chunk as Buffer;
  }
}

async function* namedErrors<T>(
  request: RequestName,
  lines: AsyncIterable<T>,
): AsyncGenerator<T, void, undefined> {
  try {
    yield* lines;
  } catch (cause) {
    throw new TransportError(nameOf(request), messageOf(cause), { cause });
  }
}

function nameOf(request: RequestName): RequestName {
  return { method: request.method, path: request.path };
}
